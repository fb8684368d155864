"""Names of weights in Hugging Face checkpoints, for each supported architecture.

One table per architecture: name in `ElasticClassifier` -> name in the checkpoint; `{}` is the layer index. Where
several of ours have one name there, that tensor has their rows, one below the other in the order of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = "steps."
"""Prefix of the names of an embedding's weights behind its pooling, which are in no checkpoint of transformers."""

_EMBEDDINGS = {
    "embeddings.word": "embeddings.word_embeddings",
    "embeddings.position": "embeddings.position_embeddings",
    "embeddings.token_type": "embeddings.token_type_embeddings",
    "embeddings.norm": "embeddings.LayerNorm",
    "embeddings.project": "embeddings_project",
}

_BERT_LAYER = {
    "layers.{}.query": "encoder.layer.{}.attention.self.query",
    "layers.{}.key": "encoder.layer.{}.attention.self.key",
    "layers.{}.value": "encoder.layer.{}.attention.self.value",
    "layers.{}.attention_output": "encoder.layer.{}.attention.output.dense",
    "layers.{}.attention_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "layers.{}.ffn_in": "encoder.layer.{}.intermediate.dense",
    "layers.{}.ffn_out": "encoder.layer.{}.output.dense",
    "layers.{}.ffn_norm": "encoder.layer.{}.output.LayerNorm",
}

_MPNET = {
    **{ours: theirs for ours, theirs in _EMBEDDINGS.items() if ours != "embeddings.token_type"},
    "relative": "encoder.relative_attention_bias",
    **_BERT_LAYER,
    "layers.{}.query": "encoder.layer.{}.attention.attn.q",
    "layers.{}.key": "encoder.layer.{}.attention.attn.k",
    "layers.{}.value": "encoder.layer.{}.attention.attn.v",
    "layers.{}.attention_output": "encoder.layer.{}.attention.attn.o",
    "layers.{}.attention_norm": "encoder.layer.{}.attention.LayerNorm",
}

_MODERNBERT = {
    "embeddings.word": "embeddings.tok_embeddings",
    "embeddings.norm": "embeddings.norm",
    "layers.{}.attention_norm": "layers.{}.attn_norm",
    "layers.{}.query": "layers.{}.attn.Wqkv",
    "layers.{}.key": "layers.{}.attn.Wqkv",
    "layers.{}.value": "layers.{}.attn.Wqkv",
    "layers.{}.attention_output": "layers.{}.attn.Wo",
    "layers.{}.ffn_norm": "layers.{}.mlp_norm",
    "layers.{}.ffn_in": "layers.{}.mlp.Wi",
    "layers.{}.ffn_gate": "layers.{}.mlp.Wi",
    "layers.{}.ffn_out": "layers.{}.mlp.Wo",
    "final_norm": "final_norm",
}

_DEBERTA = {
    **_EMBEDDINGS,
    "embeddings.project": "embeddings.embed_proj",
    "position_table": "encoder.rel_embeddings",
    "position_norm": "encoder.LayerNorm",
    **_BERT_LAYER,
    "layers.{}.query": "encoder.layer.{}.attention.self.query_proj",
    "layers.{}.key": "encoder.layer.{}.attention.self.key_proj",
    "layers.{}.value": "encoder.layer.{}.attention.self.value_proj",
    "layers.{}.position_key": "encoder.layer.{}.attention.self.pos_key_proj",
    "layers.{}.position_query": "encoder.layer.{}.attention.self.pos_query_proj",
}

_ALBERT_LAYER = "encoder.albert_layer_groups.0.albert_layers.0"
_ALBERT = {
    **_EMBEDDINGS,
    "embeddings.project": "encoder.embedding_hidden_mapping_in",
    **{f"layers.{{}}.{part}": f"{_ALBERT_LAYER}.attention.{part}" for part in ("query", "key", "value")},
    "layers.{}.attention_output": f"{_ALBERT_LAYER}.attention.dense",
    "layers.{}.attention_norm": f"{_ALBERT_LAYER}.attention.LayerNorm",
    "layers.{}.ffn_in": f"{_ALBERT_LAYER}.ffn",
    "layers.{}.ffn_out": f"{_ALBERT_LAYER}.ffn_output",
    "layers.{}.ffn_norm": f"{_ALBERT_LAYER}.full_layer_layer_norm",
}

_DISTILBERT_LAYER = {
    "layers.{}.query": "transformer.layer.{}.attention.q_lin",
    "layers.{}.key": "transformer.layer.{}.attention.k_lin",
    "layers.{}.value": "transformer.layer.{}.attention.v_lin",
    "layers.{}.attention_output": "transformer.layer.{}.attention.out_lin",
    "layers.{}.attention_norm": "transformer.layer.{}.sa_layer_norm",
    "layers.{}.ffn_in": "transformer.layer.{}.ffn.lin1",
    "layers.{}.ffn_out": "transformer.layer.{}.ffn.lin2",
    "layers.{}.ffn_norm": "transformer.layer.{}.output_layer_norm",
}


@dataclass(frozen=True)
class Architecture:
    """Architecture of one `model_type`: names of its classes and weights, and the form of its classifier."""

    stem: str
    """Prefix of the class names."""
    prefix: str
    """Prefix of the names of the encoder's weights in a model with a task head."""
    encoder: Mapping[str, str]
    pooler: str
    """Name of the layer between the first token and the classifier of whole texts."""
    classifier: str
    activation: str
    """Activation of the pooler, unless its config names another."""
    prediction: str = ""
    """Name of the norm behind the pooler, if the pooler is a prediction head (`elastic.Head.prediction`)."""
    prunes_heads: bool = True
    """Whether a config can say of each layer which heads it lacks."""

    def names(self, task: str) -> dict[str, str]:
        """Return our names -> names in the class for a task."""
        prefix = "" if task == "embedding" else f"{self.prefix}."
        table = {ours: prefix + theirs for ours, theirs in self.encoder.items()}
        if task == "embedding":
            return table
        if self.prediction:
            return table | {"pooler": self.pooler, "pooler_norm": self.prediction, "classifier": self.classifier}
        if CLASS_SUFFIXES[task] == "ForSequenceClassification":
            return table | {"pooler": self.pooler, "classifier": self.classifier}
        return table | {"classifier": "classifier" if task == "token-classification" else "qa_outputs"}

    def class_name(self, task: str) -> str:
        """Return the name of the transformers class for a task."""
        return self.stem + CLASS_SUFFIXES[task]


_BERT = {**_EMBEDDINGS, **_BERT_LAYER}
_ROBERTA_HEAD = ("classifier.dense", "classifier.out_proj")

ARCHITECTURES: Mapping[str, Architecture] = {
    "bert": Architecture("Bert", "bert", _BERT, "bert.pooler.dense", "classifier", "tanh"),
    "roberta": Architecture("Roberta", "roberta", _BERT, *_ROBERTA_HEAD, "tanh"),
    "xlm-roberta": Architecture("XLMRoberta", "roberta", _BERT, *_ROBERTA_HEAD, "tanh"),
    "camembert": Architecture("Camembert", "roberta", _BERT, *_ROBERTA_HEAD, "tanh"),
    "electra": Architecture("Electra", "electra", _BERT, *_ROBERTA_HEAD, "gelu"),
    "distilbert": Architecture(
        "DistilBert", "distilbert", {**_EMBEDDINGS, **_DISTILBERT_LAYER}, "pre_classifier", "classifier", "relu"
    ),
    "mpnet": Architecture("MPNet", "mpnet", _MPNET, *_ROBERTA_HEAD, "tanh", prunes_heads=False),
    "modernbert": Architecture(
        "ModernBert", "model", _MODERNBERT, "head.dense", "classifier", "gelu", "head.norm", prunes_heads=False
    ),
    "deberta-v2": Architecture(
        "DebertaV2", "deberta", _DEBERTA, "pooler.dense", "classifier", "gelu", prunes_heads=False
    ),
    "albert": Architecture("Albert", "albert", _ALBERT, "albert.pooler", "classifier", "tanh", prunes_heads=False),
}
"""`model_type` in config.json -> architecture. MiniLM is a BERT."""

CLASS_SUFFIXES = {
    "classification": "ForSequenceClassification",
    "multi-label-classification": "ForSequenceClassification",
    "regression": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "embedding": "Model",
}


def to_checkpoint(state: Mapping[str, Tensor], model_type: str, task: str = "classification") -> dict[str, Tensor]:
    """Rename our weights to the names in a checkpoint of the architecture; without STEPS."""
    table = ARCHITECTURES[model_type].names(task)
    places = {ours: place for place, ours in enumerate(table)}
    rows: dict[str, list[Tensor]] = {}
    for name in sorted(
        (name for name in state if not name.startswith(STEPS)), key=lambda name: places[_template(name)]
    ):
        rows.setdefault(_translate(name, table), []).append(state[name])
    return {name: parts[0] if len(parts) == 1 else torch.cat(parts) for name, parts in rows.items()}


def from_checkpoint(
    state: Mapping[str, Tensor], names: Sequence[str], model_type: str, task: str = "classification"
) -> dict[str, Tensor]:
    """Rename weights of a checkpoint to ours; `names`: our names of the weights to take."""
    table = ARCHITECTURES[model_type].names(task)
    found = {}
    for name in names:
        template = _template(name)
        beside = [ours for ours, theirs in table.items() if theirs == table[template]]
        found[name] = state[_translate(name, table)].chunk(len(beside))[beside.index(template)]
    return found


def _template(name: str) -> str:
    """Return the key of a weight in a table."""
    pieces = name.rpartition(".")[0].split(".")  # behind it is `weight` or `bias`
    return ".".join(["layers", "{}", *pieces[2:]] if pieces[0] == "layers" else pieces)


def _translate(name: str, table: Mapping[str, str]) -> str:
    stem, _, part = name.rpartition(".")
    theirs = table[_template(name)]
    return f"{theirs.format(stem.split('.')[1]) if '{}' in theirs else theirs}.{part}"
