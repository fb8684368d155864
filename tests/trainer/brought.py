"""Checkpoints in the forms that people bring: their files and configs, beside those that transformers writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from gearshift.trainer.model.names import ARCHITECTURES
from tests.trainer.encoders import ENCODERS, HEADS, HeadCase, write_model

WEIGHTS, PICKLED, INDEX = "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"

MULTI_LABEL = HeadCase("multi-label-classification", 4)

Form = Callable[[Path], object]
"""Function that alters the files of a checkpoint."""


@dataclass(frozen=True)
class Brought:
    """A checkpoint of some encoder and head, the values of its config, and the form of its files."""

    encoder: str = "BERT"
    head: HeadCase = HEADS["classification"]
    config: Mapping[str, Any] = field(default_factory=dict)
    form: Form = lambda path: None
    dtype: torch.dtype = torch.float32

    def write(self, target: Path) -> Any:
        """Write it, and return the model as transformers has it, in eval mode and fp32."""
        values = dict(self.config)
        if self.head.task == MULTI_LABEL.task:
            values["problem_type"] = "multi_label_classification"
        model = write_model(target, self.encoder, self.head, **values)
        if self.dtype != torch.float32:
            model = model.to(self.dtype)
            model.save_pretrained(target)
        self.form(target)
        return model.float()


def read_weights(path: Path) -> dict[str, Tensor]:
    return dict(safetensors.torch.load_file(path / WEIGHTS))


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    safetensors.torch.save_file({name: one.contiguous() for name, one in weights.items()}, path / WEIGHTS)


def edit_config(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    raw = json.loads((path / "config.json").read_text())
    edit(raw)
    (path / "config.json").write_text(json.dumps(raw))


def configured(**values: Any) -> Form:
    """A config.json with these values as they are, whatever transformers would have written."""
    return lambda path: edit_config(path, lambda raw: raw.update(values))


def without(*names: str) -> Form:
    """A config.json without these values."""
    return lambda path: edit_config(path, lambda raw: [raw.pop(name, None) for name in names])


def pickled(path: Path) -> None:
    """Weights as `torch.save` wrote them before safetensors."""
    torch.save(read_weights(path), path / PICKLED)
    (path / WEIGHTS).unlink()


def sharded(path: Path) -> None:
    """Weights in three files, with an index."""
    weights = read_weights(path)
    (path / WEIGHTS).unlink()
    names = sorted(weights)
    placed = {name: f"model-{number % 3 + 1:05d}-of-00003.safetensors" for number, name in enumerate(names)}
    for file in set(placed.values()):
        part = {name: weights[name] for name in names if placed[name] == file}
        safetensors.torch.save_file(part, path / file, metadata={"format": "pt"})
    (path / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": placed}))


def renamed(change: Callable[[str], str]) -> Form:
    """Weights under other names."""

    def form(path: Path) -> None:
        torch.save({change(name): one for name, one in read_weights(path).items()}, path / PICKLED)
        (path / WEIGHTS).unlink()

    return form


def old_norms(name: str) -> str:
    """The names of TensorFlow's first BERT."""
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def dropped(*parts: str) -> Form:
    """Weights without those whose names have one of these parts."""

    def form(path: Path) -> None:
        weights = read_weights(path)
        gone = [name for name in weights if any(part in name for part in parts)]
        assert gone
        write_weights(path, {name: one for name, one in weights.items() if name not in gone})

    return form


def added(**weights: Tensor) -> Form:
    """Weights with others that the model does not use; `__` stands for a point."""
    more = {name.replace("__", "."): one for name, one in weights.items()}
    return lambda path: write_weights(path, {**read_weights(path), **more})


def spoilt(name: str, value: float) -> Form:
    """Weights with one number that is none."""

    def form(path: Path) -> None:
        weights = read_weights(path)
        weights[name].view(-1)[1] = value
        write_weights(path, weights)

    return form


def prune_heads(path: Path, heads: Mapping[int, list[int]]) -> None:
    """The checkpoint without some heads, as `prune_heads` and `save_pretrained` of transformers 4 leave it."""
    config = json.loads((path / "config.json").read_text())
    names = ARCHITECTURES[config["model_type"]].encoder
    hidden, count = (config[name] for name in (("dim", "n_heads") if "dim" in config else SIZES))
    weights = read_weights(path)
    for layer, gone in heads.items():
        kept = [row for row in range(hidden) if row // (hidden // count) not in gone]
        for part in ("query", "key", "value", "attention_output"):
            for kind in ("weight", "bias"):
                (name,) = (
                    one for one in weights if one.endswith(f"{names[f'layers.{{}}.{part}'].format(layer)}.{kind}")
                )
                if part != "attention_output":
                    weights[name] = weights[name][kept]
                elif kind == "weight":
                    weights[name] = weights[name][:, kept]
    write_weights(path, weights)
    edit_config(path, lambda raw: raw.update(pruned_heads={str(layer): gone for layer, gone in heads.items()}))


SIZES = ("hidden_size", "num_attention_heads")


def zero_heads(model: Any, heads: Mapping[int, list[int]]) -> Any:
    """The model of transformers with zeros for these heads, which is what pruning them means."""
    names, size = (
        ARCHITECTURES[model.config.model_type].encoder,
        model.config.hidden_size // model.config.num_attention_heads,
    )
    for layer, gone in heads.items():
        out = model.base_model.get_submodule(names["layers.{}.attention_output"].format(layer))
        for head in gone:
            out.weight.data[:, head * size : (head + 1) * size] = 0
    return model


_NAMES_12 = {str(number): f"name {number * 7 % 12}" for number in range(12)}
TWELVE = HeadCase("classification", 12)

FORMS: dict[str, Brought] = {
    "pickled": Brought(form=pickled),
    "sharded": Brought(form=sharded),
    "sharded RoBERTa": Brought("RoBERTa", form=sharded),
    "bfloat16": Brought(dtype=torch.bfloat16),
    "float16": Brought(dtype=torch.float16),
    "float64": Brought(dtype=torch.float64),
    "bfloat16 of DistilBERT, for questions": Brought("DistilBERT", HEADS["question answering"], dtype=torch.bfloat16),
    "float16 of ELECTRA, for tokens": Brought("ELECTRA", HEADS["token classification"], dtype=torch.float16),
    "float32 that its config calls float16": Brought(form=configured(torch_dtype="float16", dtype="float16")),
    "norms called gamma and beta": Brought(form=renamed(old_norms)),
    "norms called gamma and beta, one layer": Brought(config={"num_hidden_layers": 1}, form=renamed(old_norms)),
    "a buffer of positions": Brought(form=added(bert__embeddings__position_ids=torch.arange(32)[None])),
    "a buffer of positions of RoBERTa": Brought(
        "RoBERTa", form=added(roberta__embeddings__position_ids=torch.arange(34)[None])
    ),
    "weights of another head beside its own": Brought(form=added(cls__seq_relationship__weight=torch.ones(2, 32))),
    "embedding without a pooler": Brought(head=HEADS["embedding, mean"], form=dropped("pooler")),
    "RoBERTa for embedding without a pooler": Brought(
        "RoBERTa", HEADS["embedding, first token"], form=dropped("pooler")
    ),
    "names of twelve labels, not sorted": Brought(head=TWELVE, form=configured(id2label=_NAMES_12, label2id={})),
    "default names backwards": Brought(
        form=configured(id2label={"0": "c", "1": "a", "2": "b"}, label2id={"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2})
    ),
    "labels that are numbers": Brought(
        form=configured(id2label={"0": 2, "1": 0, "2": 1}, label2id={"2": 0, "0": 1, "1": 2})
    ),
    "torchscript": Brought(form=configured(torchscript=True)),
    "a path of another machine": Brought(form=configured(_name_or_path="/home/somebody/checkpoint-500")),
    "keys of old configs": Brought(
        form=configured(
            finetuning_task="sst-2", output_past=True, gradient_checkpointing=False, xla_device=True, pruned_heads={},
            tie_word_embeddings=True, use_bfloat16=False, output_hidden_states=True, output_attentions=True,
        )
    ),
    "no word on the version": Brought(form=without("transformers_version", "position_embedding_type", "use_cache")),
    "dropout of the classifier": Brought(config={"classifier_dropout": 0.3}),
    "dropout of DistilBERT's classifier": Brought("DistilBERT", config={"seq_classif_dropout": 0.5, "qa_dropout": 0.3}),
    "a problem that is named": Brought(config={"problem_type": "single_label_classification"}),
    "regression that is named": Brought(head=HEADS["regression"], config={"problem_type": "regression"}),
    "words not tied": Brought(config={"tie_word_embeddings": False}),
    "one layer": Brought(config={"num_hidden_layers": 1}),
    "one head": Brought(config={"num_attention_heads": 1}),
    "one layer of one head and one neuron": Brought(
        config={"num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 1}
    ),
    "odd widths": Brought(config={"hidden_size": 21, "num_attention_heads": 7, "intermediate_size": 37}),
    "odd widths of ELECTRA": Brought(
        "ELECTRA", config={"hidden_size": 15, "num_attention_heads": 3, "embedding_size": 7}
    ),
    "odd widths of DistilBERT": Brought("DistilBERT", config={"dim": 21, "n_heads": 3, "hidden_dim": 5, "n_layers": 2}),
    "padding elsewhere": Brought(config={"pad_token_id": 7}),
    "padding of RoBERTa first": Brought("RoBERTa", config={"pad_token_id": 0, "max_position_embeddings": 33}),
    "padding of DistilBERT elsewhere": Brought("DistilBERT", config={"pad_token_id": 9}),
    "one type of tokens": Brought(config={"type_vocab_size": 1}),
    "three types of tokens": Brought(config={"type_vocab_size": 3}),
    "XLM-R with two types of tokens": Brought("XLM-R", config={"type_vocab_size": 2}),
    "a larger epsilon": Brought("RoBERTa", config={"layer_norm_eps": 1e-5}),
    "sinusoidal positions": Brought("DistilBERT", config={"sinusoidal_pos_embds": True}),
    **{f"several labels, {encoder}": Brought(encoder, MULTI_LABEL) for encoder in ENCODERS},
}  # fmt: skip
"""Checkpoints that are taken, and answer as transformers does."""
