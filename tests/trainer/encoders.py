"""Tiny random models of every supported encoder and head, as transformers writes them."""

from __future__ import annotations

import inspect
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from gearshift.runtime.space.shape import ACTIVATIONS
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.model.names import ARCHITECTURES
from tests.trainer.tiny import random_batch

VOCABULARY = 60
POSITIONS = 32

_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
}
_ROBERTA = {**_SIZES, "max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1, "pad_token_id": 1}
_DISTILBERT = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": POSITIONS}

_MPNET = {**_SIZES, "max_position_embeddings": POSITIONS + 2}
_MODERNBERT = {**_SIZES, "num_hidden_layers": 4, "local_attention": 8, "pad_token_id": 0, "reference_compile": False}
_DEBERTA = {
    **_SIZES,
    "relative_attention": True,
    "norm_rel_ebd": "layer_norm",
    "position_buckets": 8,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "position_biased_input": False,
    "type_vocab_size": 0,
}
"""Config of a small DeBERTa-v3; 8 buckets on either side of texts of up to 32 tokens."""
_OTHER_IDS = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 2)

ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "BERT": ("bert", _SIZES),
    "MiniLM": ("bert", {**_SIZES, "hidden_size": 48, "num_attention_heads": 12}),
    "RoBERTa": ("roberta", _ROBERTA),
    "RoBERTa with token types": ("roberta", {**_ROBERTA, "type_vocab_size": 2}),
    "XLM-R": ("xlm-roberta", _ROBERTA),
    "ELECTRA": ("electra", {**_SIZES, "embedding_size": 16}),
    "ELECTRA of one width": ("electra", {**_SIZES, "embedding_size": 32}),
    "DistilBERT": ("distilbert", _DISTILBERT),
    "CamemBERT": ("camembert", _ROBERTA),
    "MPNet": ("mpnet", _MPNET),
    "ModernBERT": ("modernbert", {**_MODERNBERT, **_OTHER_IDS}),
    "DeBERTa": ("deberta-v2", _DEBERTA),
    "ALBERT": ("albert", {**_SIZES, "embedding_size": 16, "hidden_act": "gelu"}),
}
"""Name -> `model_type` and what its config sets."""

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "ModernBERT, mean": ("modernbert", {**_MODERNBERT, **_OTHER_IDS, "classifier_pooling": "mean"}),
    "ModernBERT, SwiGLU": ("modernbert", {**_MODERNBERT, **_OTHER_IDS, "hidden_activation": "silu"}),
    "DeBERTa with products, positions, types and narrow embeddings": (
        "deberta-v2",
        {
            **_DEBERTA,
            "share_att_key": False,
            "position_biased_input": True,
            "type_vocab_size": 2,
            "embedding_size": 16,
            "max_relative_positions": 20,
            "pooler_hidden_act": "tanh",
        },
    ),
    "DeBERTa, c2p": ("deberta-v2", {**_DEBERTA, "pos_att_type": "c2p", "type_vocab_size": 2}),
    "DeBERTa, p2c": ("deberta-v2", {**_DEBERTA, "pos_att_type": "p2c", "share_att_key": False}),
    **{f"BERT, {name}": ("bert", {**_SIZES, "hidden_act": name}) for name in ACTIVATIONS if name != "gelu"},
}
"""Encoders once more, with another activation or pooling."""


@dataclass(frozen=True)
class HeadCase:
    """A task with the size of its answer."""

    task: str
    outputs: int
    pooling: str = "first"
    """Pooling that is written beside an embedding model; empty for none."""


HEADS = {
    "classification": HeadCase("classification", 3),
    "regression": HeadCase("regression", 1),
    "token classification": HeadCase("token-classification", 5),
    "question answering": HeadCase("question-answering", 2),
    "embedding, mean": HeadCase("embedding", 0, "mean"),
    "embedding, first token": HeadCase("embedding", 0, "first"),
}


CASES = [
    (encoder, head)
    for encoder, head in (*itertools.product(ENCODERS, HEADS), *((form, "classification") for form in FORMS))
    if hasattr(transformers, ARCHITECTURES[{**ENCODERS, **FORMS}[encoder][0]].class_name(HEADS[head].task))
]
"""Every encoder with every head, and every form with one; early versions of transformers lack a class or two."""


def write_model(target: Path, encoder: str, head: HeadCase, **changes: Any) -> Any:
    """Write a random model, whose config has some `changes`, and give it as transformers has it, in eval mode."""
    model_type, own = {**ENCODERS, **FORMS}[encoder]
    settings = {**own, **changes}
    labels = {} if head.task == "embedding" else {"num_labels": head.outputs}
    config = transformers.AutoConfig.for_model(model_type, vocab_size=VOCABULARY, **settings, **labels)
    torch.manual_seed(0)
    model = getattr(transformers, ARCHITECTURES[model_type].class_name(head.task))(config)
    _scatter(model)
    model.save_pretrained(target)
    if head.task == "embedding" and head.pooling:
        write_pooling(target, head.pooling, config.hidden_size)
    return model.eval()


def write_pooling(target: Path, pooling: str, width: int) -> None:
    """Write how an embedding model pools, `mean` or `first`, without any modules."""
    modes = {"pooling_mode_cls_token": pooling == "first", "pooling_mode_mean_tokens": pooling == "mean"}
    (target / "1_Pooling").mkdir()
    (target / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": width, **modes}))


def add_tokenizer(target: Path, source: Path) -> None:
    """Put the tokenizer of another checkpoint beside a model, without the pieces that its word table lacks."""
    raw = json.loads((source / "tokenizer.json").read_text())
    vocabulary = raw["model"]["vocab"]
    raw["model"]["vocab"] = {piece: number for piece, number in vocabulary.items() if number < VOCABULARY}
    (target / "tokenizer.json").write_text(json.dumps(raw))
    (target / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


@torch.no_grad()
def _scatter(model: torch.nn.Module) -> None:
    """Weights that keep values at their size from layer to layer, no two alike."""
    for name, parameter in model.named_parameters():
        if "norm.weight" in name.lower():
            parameter.normal_(1, 0.2)
        elif any(part in name for part in ("embeddings.", "relative_attention_bias")):
            parameter.normal_(0, 1)
        elif parameter.ndim == 1:
            parameter.normal_(0, 0.3)
        else:
            parameter.normal_(0, parameter.shape[1] ** -0.5)


def batch_for(model: Any, shape: Any, lengths: list[int]) -> Batch:
    """Random rows of these lengths, padded as the model wants it."""
    pad_id = model.config.pad_token_id
    batch = random_batch(lengths, shape, pad_id=pad_id)
    # The id of the padding is no word: RoBERTa counts its positions by it.
    ids = torch.where(batch.attention_mask.bool() & (batch.input_ids == pad_id), 5, batch.input_ids)
    return Batch(ids, batch.attention_mask, batch.token_type_ids, batch.labels, batch.indices)


@torch.no_grad()
def answer_of(model: Any, batch: Batch, head: HeadCase) -> torch.Tensor:
    """Return what transformers' own model answers."""
    typed = "token_type_ids" in inspect.signature(model.forward).parameters
    types = {"token_type_ids": batch.token_type_ids} if typed else {}
    found = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **types)
    if head.task == "question-answering":
        return torch.stack([found.start_logits, found.end_logits], dim=-1)
    if head.task != "embedding":
        logits: torch.Tensor = found.logits
        return logits
    states = found.last_hidden_state
    rows = [
        state[0] if head.pooling == "first" else state[: int(mask.sum())].mean(0)
        for state, mask in zip(states, batch.attention_mask, strict=True)
    ]
    return torch.stack([row / row.norm() for row in rows])
