"""Configs of real models: the shape that is read from each, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from gearshift.errors import ModelError
from gearshift.runtime.space.uniform import uniform_subnet
from gearshift.trainer.model.configs import read_config, shape_of
from gearshift.trainer.model.names import ARCHITECTURES

_DEBERTA_V3 = {
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "max_relative_positions": -1,
}
REAL: dict[str, tuple[str, dict[str, Any]]] = {
    "bge-base-en-v1.5": ("bert", {}),
    "multilingual-MiniLM-L12": (
        "bert", {"hidden_size": 384, "intermediate_size": 1536, "vocab_size": 250037, "max_position_embeddings": 512}
    ),
    "multilingual-e5-base": (
        "xlm-roberta", {"vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1}
    ),
    "camembert-base": ("camembert", {"vocab_size": 32005, "max_position_embeddings": 514, "type_vocab_size": 1}),
    "all-mpnet-base-v2": ("mpnet", {"max_position_embeddings": 514}),
    "ModernBERT-base": ("modernbert", {}),
    "ModernBERT-large": (
        "modernbert",
        {"hidden_size": 1024, "intermediate_size": 2624, "num_hidden_layers": 28, "num_attention_heads": 16},
    ),
    "albert-base-v2": ("albert", {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}),
    "deberta-v3-base": (
        "deberta-v2",
        {
            "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
            **_DEBERTA_V3,
        },
    ),
    "mdeberta-v3-base": (
        "deberta-v2",
        {
            "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
            "vocab_size": 251000, **_DEBERTA_V3,
        },
    ),
}  # fmt: skip
"""Name -> `model_type`, and what its config sets beside the defaults of transformers."""


@pytest.mark.parametrize("name", REAL)
def test_a_shape_counts_the_parameters_of_the_real_model(name: str) -> None:
    model_type, own = REAL[name]
    config = transformers.AutoConfig.for_model(model_type, **own)
    with torch.device("meta"):
        model = getattr(transformers, ARCHITECTURES[model_type].class_name("embedding"))(config)
    shape = shape_of(config)
    weights = {key: weight for key, weight in model.named_parameters() if "pooler" not in key}
    found = sum(weight.numel() for weight in weights.values())
    # Rows of position tables that no token uses, and the only row of a table of token types, are no part of ours.
    unused = config.max_position_embeddings - shape.positions if shape.position_rows else 0
    unused += getattr(config, "type_vocab_size", 0) == 1
    assert uniform_subnet(shape, 1, 1).parameters(shape) == found - unused * shape.hidden


def test_every_third_layer_of_modernbert_sees_all_tokens() -> None:
    shape = shape_of(transformers.AutoConfig.for_model("modernbert"))
    assert shape.windows == (0, 64, 64) * 7 + (0,)
    assert shape.rotary == (160000.0, 10000.0, 10000.0) * 7 + (160000.0,)
    assert (shape.gated, shape.norm_first, shape.biases, shape.positions) == (True, True, False, 8192)


def write(folder: Path, model_type: str, **changes: Any) -> Path:
    known = model_type in transformers.CONFIG_MAPPING
    raw = transformers.AutoConfig.for_model(model_type).to_dict() if known else {"model_type": model_type}
    (folder / "config.json").write_text(json.dumps({**raw, **changes}))
    return folder


@pytest.mark.parametrize("model_type", ["deberta", "nomic_bert", "new", "llama"])
def test_another_architecture_is_refused_and_the_known_ones_are_listed(model_type: str, tmp_path: Path) -> None:
    # A model that would like to run code of its own is refused before it can ask for leave.
    folder = write(tmp_path, model_type, auto_map={"AutoConfig": "configuration_hf.Config"})
    with pytest.raises(ModelError, match=rf"architecture '{model_type}' is not supported; expected one of bert, ro"):
        read_config(folder)


@pytest.mark.parametrize(
    ("model_type", "changes", "told"),
    [
        ("bert", {"hidden_act": "mish"}, "hidden_act 'mish' is not supported; expected one of gelu, .*quick_gelu"),
        ("distilbert", {"activation": "mish"}, "activation 'mish' is not supported"),
        ("modernbert", {"hidden_activation": "mish"}, "hidden_activation 'mish' is not supported"),
        ("modernbert", {"classifier_activation": "mish"}, "classifier_activation 'mish' is not supported"),
        ("modernbert", {"classifier_pooling": "max"}, "classifier_pooling"),
        (
            "modernbert",
            {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            "positions of type 'linear'",
        ),
        ("modernbert", {"norm_bias": True}, "norm_bias True is not supported; expected False"),
        ("modernbert", {"local_attention": 1}, "local_attention: expected a whole number of 2 or more, found 1"),
        ("mpnet", {"relative_attention_num_buckets": 16}, "relative_attention_num_buckets 16 is not supported"),
        ("mpnet", {"pruned_heads": {"0": [1]}}, "pruned_heads of mpnet are not supported"),
        ("deberta-v2", {**_DEBERTA_V3, "conv_kernel_size": 3}, "conv_kernel_size 3 is not supported; expected 0"),
        ("deberta-v2", {}, "relative_attention False is not supported; expected True"),
        ("deberta-v2", {**_DEBERTA_V3, "norm_rel_ebd": "none"}, "norm_rel_ebd 'none' is not supported"),
        ("deberta-v2", {**_DEBERTA_V3, "position_buckets": -1}, "position_buckets: expected a whole number of 2 or"),
        ("deberta-v2", {**_DEBERTA_V3, "pos_att_type": "p2p|c2p"}, r"pos_att_type \['p2p', 'c2p'\] is not supported"),
        ("deberta-v2", {**_DEBERTA_V3, "pooler_hidden_size": 8}, "pooler_hidden_size 8 is not supported"),
        ("deberta-v2", {**_DEBERTA_V3, "attention_head_size": 8}, "attention_head_size 8 is not supported"),
        ("deberta-v2", {**_DEBERTA_V3, "pooler_hidden_act": "mish"}, "pooler_hidden_act 'mish' is not supported"),
        ("deberta-v2", {**_DEBERTA_V3, "type_vocab_size": 1}, "type_vocab_size 1 without positions is not supported"),
        ("albert", {"num_hidden_groups": 2}, "num_hidden_groups 2 is not supported; expected 1"),
        ("albert", {"inner_group_num": 2}, "inner_group_num 2 is not supported; expected 1"),
        (
            "albert",
            {"embedding_size": 64, "hidden_size": 64},
            "embedding_size 64 is not supported; expected a narrower one",
        ),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key' is not"),
    ],
)
def test_another_form_is_refused_by_name(model_type: str, changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=told):
        read_config(write(tmp_path, model_type, **changes))
