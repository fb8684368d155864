"""How each supported architecture names its weights in a Hugging Face checkpoint.

One table per architecture, from the names of `ElasticClassifier` to theirs; `{}` is the layer number.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

BERT = {
    "embeddings.word": "bert.embeddings.word_embeddings",
    "embeddings.position": "bert.embeddings.position_embeddings",
    "embeddings.token_type": "bert.embeddings.token_type_embeddings",
    "embeddings.norm": "bert.embeddings.LayerNorm",
    "layers.{}.query": "bert.encoder.layer.{}.attention.self.query",
    "layers.{}.key": "bert.encoder.layer.{}.attention.self.key",
    "layers.{}.value": "bert.encoder.layer.{}.attention.self.value",
    "layers.{}.attention_output": "bert.encoder.layer.{}.attention.output.dense",
    "layers.{}.attention_norm": "bert.encoder.layer.{}.attention.output.LayerNorm",
    "layers.{}.ffn_in": "bert.encoder.layer.{}.intermediate.dense",
    "layers.{}.ffn_out": "bert.encoder.layer.{}.output.dense",
    "layers.{}.ffn_norm": "bert.encoder.layer.{}.output.LayerNorm",
    "pooler": "bert.pooler.dense",
    "classifier": "classifier",
}

ARCHITECTURES: Mapping[str, Mapping[str, str]] = {"bert": BERT}
"""`model_type` of a checkpoint's config.json -> its table. MiniLM is a BERT."""

CLASSES: Mapping[str, str] = {"bert": "BertForSequenceClassification"}
"""`model_type` -> the class of transformers that loads a classifier of it."""


def to_checkpoint(state: Mapping[str, Tensor], model_type: str) -> dict[str, Tensor]:
    """Our weights under the names of the architecture's checkpoint."""
    return {_translate(name, ARCHITECTURES[model_type]): tensor for name, tensor in state.items()}


def from_checkpoint(state: Mapping[str, Tensor], names: list[str], model_type: str) -> dict[str, Tensor]:
    """Weights of a checkpoint under our names; `names` are the ones we need."""
    return {name: state[_translate(name, ARCHITECTURES[model_type])] for name in names}


def _translate(name: str, table: Mapping[str, str]) -> str:
    stem, _, part = name.rpartition(".")  # part is `weight` or `bias`
    pieces = stem.split(".")
    if pieces[0] != "layers":
        return f"{table[stem]}.{part}"
    template = ".".join(["layers", "{}", *pieces[2:]])
    return f"{table[template].format(pieces[1])}.{part}"
