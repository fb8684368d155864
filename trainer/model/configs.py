"""Shape, head and dropout of an encoder, as its Hugging Face config states them, for each architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers

from gearshift.errors import ModelError, first_line
from gearshift.runtime.space.shape import ACTIVATIONS, POSITION_TERMS, EncoderShape
from gearshift.schema import read_if_whole
from gearshift.trainer.model.elastic import POOLED, Head
from gearshift.trainer.model.encoder.layer import Dropout
from gearshift.trainer.model.loading import quiet, take_pruned_heads
from gearshift.trainer.model.names import ARCHITECTURES

_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings")
"""Values of a config without which there is no encoder."""

_BUCKETS = 32
"""Buckets of MPNet's relative positions; transformers takes no other number, whatever the config says."""

_MPNET_PAD_ID = 1
"""Id that MPNet's code in transformers counts positions from, whatever the config says."""

_WANTED: Mapping[str, Mapping[str, Any]] = {
    "mpnet": {"relative_attention_num_buckets": _BUCKETS},
    "modernbert": {
        "attention_bias": False,
        "mlp_bias": False,
        "norm_bias": False,
        "classifier_bias": False,
    },
    "albert": {"num_hidden_groups": 1, "inner_group_num": 1},
    "deberta-v2": {"relative_attention": True, "norm_rel_ebd": "layer_norm", "conv_kernel_size": 0},
}
"""Architecture -> values of its config for which alone it can be made elastic, beside those of all architectures."""

_FULL, _SLIDING = "full_attention", "sliding_attention"
"""Kinds of ModernBERT's layers, as transformers 5 names them in a config."""

_POOLINGS = {"cls": "first", "mean": "mean"}
"""ModernBERT's `classifier_pooling` -> our name of the pooling."""


def read_config(path: Any, **changes: Any) -> Any:
    """Read the config of a model that can be made elastic, with some values changed; raises ModelError."""
    # Asked first: transformers would ask for leave to run the code of an architecture that it does not have.
    _require_supported(read_if_whole(path / "config.json", lambda raw: raw.get("model_type")), str(path))
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(path, local_files_only=True, **changes)
    except Exception as error:  # values of a wrong type raise any error
        raise ModelError(f"{path}: no model that transformers can read ({first_line(error)})") from error
    check_config(config, str(path))
    take_pruned_heads(config, path)
    return config


def check_config(config: Any, path: str) -> None:
    """Raise ModelError, which names `path`, if a model of this config cannot be made elastic."""
    _require_supported(config.model_type, path)
    wanted = {"position_embedding_type": "absolute", "is_decoder": False, **_WANTED.get(config.model_type, {})}
    for name, expected in wanted.items():
        found = getattr(config, name, expected)
        if found != expected:
            raise ModelError(f"{path}: {name} {found!r} is not supported; expected {expected!r}")
    least = {**dict.fromkeys(_SIZES, 1), **({"pad_token_id": 0} if config.model_type in _COUNTED_FROM_PAD else {})}
    if config.model_type == "modernbert":
        least["local_attention"] = 2
        _require_among(config, "classifier_pooling", tuple(_POOLINGS), path)
        _require_among(config, "classifier_activation", ACTIVATIONS, path)
        strange = [kind for kind in _rotary_kinds(config) if kind != "default"]
        if strange:
            raise ModelError(f"{path}: rotary positions of type {strange[0]!r} are not supported; expected 'default'")
    if config.model_type == "albert" and config.embedding_size == config.hidden_size:
        raise ModelError(f"{path}: embedding_size {config.embedding_size} is not supported; expected a narrower one")
    if config.model_type == "deberta-v2":
        least["position_buckets"] = 2
        _check_deberta(config, path)
    for name, minimum in least.items():
        size = getattr(config, name, None)
        if not isinstance(size, int) or size < minimum:
            raise ModelError(f"{path}: {name}: expected a whole number of {minimum} or more, found {size!r}")
    _require_among(config, _activation_field(config), ACTIVATIONS, path)


def _check_deberta(config: Any, path: str) -> None:
    """Raise ModelError for what a config of DeBERTa may state and no elastic model has."""
    _require_among(config, "pooler_hidden_act", ("tanh", *ACTIVATIONS), path)
    sizes = {"pooler_hidden_size": config.hidden_size, "attention_head_size": _head_size(config)}
    for name, expected in sizes.items():
        if (found := getattr(config, name, expected)) != expected:
            raise ModelError(f"{path}: {name} {found!r} is not supported; expected {expected!r}")
    if not config.pos_att_type or not set(config.pos_att_type) <= set(POSITION_TERMS):
        expected = " and ".join(POSITION_TERMS)
        raise ModelError(f"{path}: pos_att_type {config.pos_att_type!r} is not supported; expected some of {expected}")
    if config.type_vocab_size == 1 and not config.position_biased_input:
        raise ModelError(f"{path}: type_vocab_size 1 without positions is not supported; expected 0, or 2 and more")


def _head_size(config: Any) -> int:
    return int(config.hidden_size // config.num_attention_heads)


def _require_supported(model_type: Any, path: str) -> None:
    """Raise ModelError for an architecture that cannot be made elastic."""
    if isinstance(model_type, str) and model_type not in ARCHITECTURES:
        raise ModelError(
            f"{path}: architecture {model_type!r} is not supported; expected one of {', '.join(ARCHITECTURES)}"
        )


def _require_among(config: Any, name: str, known: tuple[str, ...], path: str) -> None:
    found = getattr(config, name, known[0])
    if found not in known:
        raise ModelError(f"{path}: {name} {found!r} is not supported; expected one of {', '.join(known)}")


_COUNTED_FROM_PAD = ("roberta", "xlm-roberta", "camembert")
"""Architectures whose first token has position pad id + 1."""


def unused_positions(config: Any) -> int:
    """Return the number of rows at the start of a position table that no token uses."""
    if config.model_type == "mpnet":
        return _MPNET_PAD_ID + 1
    return config.pad_token_id + 1 if config.model_type in _COUNTED_FROM_PAD else 0


def shape_of(config: Any) -> EncoderShape:
    """Return the shape of the elastic model for a config."""
    width = getattr(config, "embedding_size", config.hidden_size)
    types = getattr(config, "type_vocab_size", 0)
    form = _FORMS[config.model_type](config) if config.model_type in _FORMS else {}
    return EncoderShape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        neurons=getattr(config, neurons_field(config)),
        vocabulary=config.vocab_size,
        positions=config.max_position_embeddings - unused_positions(config),
        types=types if types > 1 else 0,
        embedding=0 if width == config.hidden_size else width,
        activation=getattr(config, _activation_field(config)),
        **form,
    )


def neurons_field(config: Any) -> str:
    """Return the name of the field with the number of FFN neurons."""
    return "hidden_dim" if config.model_type == "distilbert" else "intermediate_size"


def _activation_field(config: Any) -> str:
    return {"distilbert": "activation", "modernbert": "hidden_activation"}.get(config.model_type, "hidden_act")


def _mpnet_form(config: Any) -> dict[str, Any]:
    return {"relative_buckets": _BUCKETS}


def _modernbert_form(config: Any) -> dict[str, Any]:
    kinds = _layer_kinds(config)
    bases, window = _bases(config), config.local_attention // 2
    return {
        "gated": True,
        "norm_first": True,
        "biases": False,
        "rotary": tuple(float(bases[kind]) for kind in kinds),
        "windows": tuple(window if kind == _SLIDING else 0 for kind in kinds),
    }


def _deberta_form(config: Any) -> dict[str, Any]:
    farthest = getattr(config, "max_relative_positions", -1)
    return {
        "absolute": bool(config.position_biased_input),
        "projected_first": getattr(config, "embedding_size", config.hidden_size) != config.hidden_size,
        "position_terms": tuple(term for term in POSITION_TERMS if term in config.pos_att_type),
        "position_buckets": config.position_buckets,
        "position_farthest": config.max_position_embeddings if farthest < 1 else farthest,
        "position_products": not getattr(config, "share_att_key", False),
    }


def _albert_form(config: Any) -> dict[str, Any]:
    return {"shared": True}


_FORMS = {"mpnet": _mpnet_form, "modernbert": _modernbert_form, "deberta-v2": _deberta_form, "albert": _albert_form}
"""Architecture -> function that reads what differs from BERT's form of layers."""


def _layer_kinds(config: Any) -> list[str]:
    """Return the kind of each layer: transformers 5 lists them, before every so-manieth was full."""
    listed = getattr(config, "layer_types", None)
    if listed:
        return list(listed)
    every = config.global_attn_every_n_layers
    return [_SLIDING if layer % every else _FULL for layer in range(config.num_hidden_layers)]


def _bases(config: Any) -> dict[str, float]:
    """Return kind of layer -> base of its rotary positions."""
    parameters = getattr(config, "rope_parameters", None)
    if parameters:
        return {kind: parameters[kind]["rope_theta"] for kind in (_FULL, _SLIDING)}
    local = config.local_rope_theta
    return {_FULL: config.global_rope_theta, _SLIDING: config.global_rope_theta if local is None else local}


def _rotary_kinds(config: Any) -> list[Any]:
    """Return the types of rotary positions that a config names, in the fields of either version of transformers."""
    stated = [getattr(config, name, None) or {} for name in ("rope_parameters", "rope_scaling")]
    parts = [part for each in stated for part in (each, *each.values()) if isinstance(part, dict)]
    return [part[name] for part in parts for name in ("rope_type", "type") if name in part]


_HEAD_ACTIVATIONS = {"modernbert": "classifier_activation", "deberta-v2": "pooler_hidden_act"}
"""Architecture -> field of its config that names the activation of its pooler."""


def head_of(config: Any, task: str) -> Head:
    """Return the head for a task; that of an embedding without its pooling and steps."""
    architecture = ARCHITECTURES[config.model_type]
    pooling = _POOLINGS[getattr(config, "classifier_pooling", "cls")] if task in POOLED else "first"
    activation = getattr(config, _HEAD_ACTIVATIONS.get(config.model_type, ""), architecture.activation)
    return Head(task, activation, bool(architecture.prediction), pooling)


def dropout_of(config: Any) -> Dropout:
    """Return the dropout probabilities of a config."""
    if config.model_type == "distilbert":
        return Dropout(config.dropout, config.attention_dropout)
    if config.model_type == "modernbert":
        return Dropout(config.mlp_dropout, config.attention_dropout)
    return Dropout(config.hidden_dropout_prob, config.attention_probs_dropout_prob)


def norm_eps_of(config: Any) -> float:
    """Return the epsilon of the norms; DistilBERT's is in its code."""
    return float(getattr(config, "norm_eps", getattr(config, "layer_norm_eps", 1e-12)))
