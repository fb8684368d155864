"""Names of weights in Hugging Face checkpoints, for each supported architecture.

One table per architecture: name in `ElasticClassifier` -> name in the checkpoint; `{}` is the layer index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    """Activation of the pooler."""

    def names(self, task: str) -> dict[str, str]:
        """Return our names -> names in the class for a task."""
        prefix = "" if task == "embedding" else f"{self.prefix}."
        table = {ours: prefix + theirs for ours, theirs in self.encoder.items()}
        if CLASS_SUFFIXES[task] == "ForSequenceClassification":
            table |= {"pooler": self.pooler, "classifier": self.classifier}
        elif task == "token-classification":
            table["classifier"] = "classifier"
        elif task == "question-answering":
            table["classifier"] = "qa_outputs"
        return table

    def class_name(self, task: str) -> str:
        """Return the name of the transformers class for a task."""
        return self.stem + CLASS_SUFFIXES[task]


_BERT = {**_EMBEDDINGS, **_BERT_LAYER}
_ROBERTA_HEAD = ("classifier.dense", "classifier.out_proj")

ARCHITECTURES: Mapping[str, Architecture] = {
    "bert": Architecture("Bert", "bert", _BERT, "bert.pooler.dense", "classifier", "tanh"),
    "roberta": Architecture("Roberta", "roberta", _BERT, *_ROBERTA_HEAD, "tanh"),
    "xlm-roberta": Architecture("XLMRoberta", "roberta", _BERT, *_ROBERTA_HEAD, "tanh"),
    "electra": Architecture("Electra", "electra", _BERT, *_ROBERTA_HEAD, "gelu"),
    "distilbert": Architecture(
        "DistilBert", "distilbert", {**_EMBEDDINGS, **_DISTILBERT_LAYER}, "pre_classifier", "classifier", "relu"
    ),
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
    return {_translate(name, table): tensor for name, tensor in state.items() if not name.startswith(STEPS)}


def from_checkpoint(
    state: Mapping[str, Tensor], names: Sequence[str], model_type: str, task: str = "classification"
) -> dict[str, Tensor]:
    """Rename weights of a checkpoint to ours; `names`: our names of the weights to take."""
    table = ARCHITECTURES[model_type].names(task)
    return {name: state[_translate(name, table)] for name in names}


def _translate(name: str, table: Mapping[str, str]) -> str:
    stem, _, part = name.rpartition(".")  # part is `weight` or `bias`
    pieces = stem.split(".")
    if pieces[0] != "layers":
        return f"{table[stem]}.{part}"
    template = ".".join(["layers", "{}", *pieces[2:]])
    return f"{table[template].format(pieces[1])}.{part}"
