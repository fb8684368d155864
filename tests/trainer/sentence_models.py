"""Tiny random embedding models in the layouts of sentence-transformers, and what its `encode` gives for them.

Files are written in the form of releases 1 (the encoder in a folder of its own), 3 and 6. `encode` is a reference of
its own, by numpy, text by text; it gave the same as the packages 3.4.1, 5.7.0 and 6.2.0 on all layouts that these read,
6.2.0 on every one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tests.trainer.encoders import VOCABULARY, HeadCase, write_model

Array = NDArray[np.float64]

HIDDEN = 32
TEXTS = (
    "the snow",
    "sun",
    "a day full of ice and frost",
    "The winter was there once again and we saw much of the sun",
    "Once",
)
PROMPT = "the summer of "


@dataclass(frozen=True)
class Module:
    """A module behind the encoder: its class, and the fields of its config in the form of release 6."""

    kind: str
    config: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""
    """Name of its folder, unless the usual one."""

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Return name -> shape of its weights."""
        if self.kind == "LayerNorm":
            return {"norm.weight": (self.config["dimension"],), "norm.bias": (self.config["dimension"],)}
        if self.kind != "Dense":
            return {}
        inputs, outputs = self.config["in_features"], self.config["out_features"]
        sizes: dict[str, tuple[int, ...]] = {"linear.weight": (outputs, inputs)}
        if self.config["bias"]:
            sizes["linear.bias"] = (outputs,)
        if self.config.get("use_residual") and inputs != outputs:
            sizes["residual.weight"] = (outputs, inputs)
        return sizes

    def weights(self) -> dict[str, torch.Tensor]:
        """Random weights, always the same."""
        source = torch.Generator().manual_seed(len(self.kind) + sum(map(sum, self.sizes.values())))
        return {name: torch.randn(size, generator=source) * 0.3 for name, size in self.sizes.items()}


def pooling(*modes: str, include_prompt: bool = True, folder: str = "", listed: bool = False) -> Module:
    mode = list(modes) if len(modes) > 1 or listed else modes[0]
    return Module("Pooling", {"pooling_mode": mode, "include_prompt": include_prompt}, folder)


def dense(inputs: int, outputs: int, activation: str = "activation.Tanh", *, bias: bool = True, **more: Any) -> Module:
    function = f"torch.nn.modules.{activation}"
    config = {"in_features": inputs, "out_features": outputs, "bias": bias, "activation_function": function}
    return Module("Dense", {**config, **more})


def layer_norm(width: int) -> Module:
    return Module("LayerNorm", {"dimension": width})


NORMALIZE, DROPOUT = Module("Normalize"), Module("Dropout", {"dropout": 0.5})


@dataclass(frozen=True)
class Layout:
    """A model in the form of one release."""

    modules: tuple[Module, ...]
    release: int = 3
    encoder: str = "BERT"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of config_sentence_transformers.json."""
    max_seq_length: int | None = None
    lower_case: bool = False
    bin: bool = False
    """Whether the weights of modules are in pytorch_model.bin."""

    @property
    def prompt(self) -> str:
        name = self.settings.get("default_prompt_name")
        return self.settings["prompts"][name] if name else ""

    @property
    def width(self) -> int:
        """Width of the vectors."""
        modes = self.modules[0].config["pooling_mode"]
        width = HIDDEN * (1 if isinstance(modes, str) else len(modes))
        for module in self.modules:
            width = int(module.config.get("out_features", width))
        return min(width, int(self.settings.get("truncate_dim", width)))


def _prompted(name: str | None, **more: Any) -> dict[str, Any]:
    return {"prompts": {"query": PROMPT, "passage": "ice "}, "default_prompt_name": name, **more}


MEAN = pooling("mean")

LAYOUTS: dict[str, Layout] = {
    "mean": Layout((MEAN,)),
    "mean, normalized": Layout((MEAN, NORMALIZE)),
    "mean, normalized, RoBERTa": Layout((MEAN, NORMALIZE), encoder="RoBERTa"),
    "cls in a folder of another name": Layout((pooling("cls", folder="pooler"), NORMALIZE)),
    "max": Layout((pooling("max"),)),
    "sum by the root of the length": Layout((pooling("mean_sqrt_len_tokens"),)),
    "weighted mean": Layout((pooling("weightedmean"),)),
    "last token": Layout((pooling("lasttoken"), NORMALIZE)),
    "two poolings": Layout((pooling("cls", "max"), NORMALIZE)),
    "all poolings": Layout((pooling("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"),)),
    "mean, release 6": Layout((MEAN,), 6),
    "a list of one pooling, release 6": Layout((pooling("cls", listed=True), NORMALIZE), 6),
    "poolings in an order of their own, release 6": Layout((pooling("lasttoken", "mean", "cls"),), 6),
    "dense": Layout((MEAN, dense(HIDDEN, 8))),
    "dense, release 6": Layout((MEAN, dense(HIDDEN, 8), NORMALIZE), 6),
    "dense without bias and activation": Layout((MEAN, dense(HIDDEN, 8, "linear.Identity", bias=False), NORMALIZE)),
    "dense that widens, behind a normalization": Layout((MEAN, NORMALIZE, dense(HIDDEN, 48, "activation.GELU"))),
    "two dense layers behind two poolings": Layout(
        (pooling("cls", "mean"), dense(64, 16, "activation.ReLU"), dense(16, 4, "activation.Sigmoid"), NORMALIZE)
    ),
    "dense, DistilBERT": Layout((MEAN, dense(HIDDEN, 8, "activation.ELU")), encoder="DistilBERT"),
    "dense in pytorch_model.bin": Layout((MEAN, dense(HIDDEN, 8, "activation.LeakyReLU"), layer_norm(8)), bin=True),
    "dense layers with residuals, release 6": Layout(
        (MEAN, dense(HIDDEN, 8, use_residual=True), dense(8, 8, "activation.SiLU", use_residual=True)), 6
    ),
    "layer norm and dropout": Layout((MEAN, layer_norm(HIDDEN), DROPOUT, dense(HIDDEN, 8))),
    "the encoder in a folder, release 1": Layout((pooling("max"),), 1),
    "short texts": Layout((MEAN,), max_seq_length=6),
    "short texts, release 6": Layout((MEAN,), 6, max_seq_length=6),
    "lower-cased": Layout((MEAN, NORMALIZE), lower_case=True),
    "lower-cased, release 6": Layout((MEAN, NORMALIZE), 6, lower_case=True),
    "default prompt": Layout((MEAN,), settings=_prompted("query", similarity_fn_name="dot")),
    "default prompt, release 6": Layout((pooling("weightedmean"), NORMALIZE), 6, settings=_prompted("query")),
    "prompts without a default": Layout((MEAN,), 6, settings=_prompted(None, similarity_fn_name="euclidean")),
    "default prompt that the pooling leaves out": Layout(
        (pooling("mean", include_prompt=False), NORMALIZE), settings=_prompted("query")
    ),
    "default prompt that three poolings leave out": Layout(
        (pooling("max", "weightedmean", "lasttoken", include_prompt=False),), settings=_prompted("query")
    ),
    "truncated vectors, release 6": Layout((MEAN, NORMALIZE), 6, settings={"truncate_dim": 12}),
}
"""Name -> layout."""

_TYPES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    "LayerNorm": "sentence_transformers.sentence_transformer.modules.layer_norm.LayerNorm",
    "Dropout": "sentence_transformers.sentence_transformer.modules.dropout.Dropout",
}
"""Class -> its full name in release 6; before, all were in `sentence_transformers.models`."""

_FLAGS = {
    "cls": "cls_token",
    "mean": "mean_tokens",
    "max": "max_tokens",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean": "weightedmean_tokens",
    "lasttoken": "lasttoken",
}


def write_sentence_model(target: Path, layout: Layout, tokenizer: Path) -> Path:
    """Write a model; its tokenizer knows the words of that in the directory `tokenizer`, and their case."""
    target.mkdir(parents=True, exist_ok=True)
    encoder = target / "0_Transformer" if layout.release == 1 else target
    write_model(encoder, layout.encoder, HeadCase("embedding", 0, ""))
    _write_tokenizer(encoder, tokenizer, layout)
    _write_json(encoder / "sentence_bert_config.json", _encoder_config(layout))
    if layout.release > 1:
        given = {"model_type": "SentenceTransformer", **layout.settings} if layout.release == 6 else layout.settings
        _write_json(target / "config_sentence_transformers.json", {"__version__": {}, **given})
    entries = [{"path": encoder.name if encoder != target else "", "type": _type("Transformer", layout.release)}]
    for number, module in enumerate(layout.modules, start=1):
        folder = module.folder or f"{number}_{module.kind}"
        (target / folder).mkdir()
        entries.append({"path": folder, "type": _type(module.kind, layout.release)})
        _write_module(target / folder, module, layout)
    _write_json(target / "modules.json", [{"idx": n, "name": str(n), **each} for n, each in enumerate(entries)])
    return target


def _type(kind: str, release: int) -> str:
    return _TYPES[kind] if release == 6 else f"sentence_transformers.models.{kind}"


def _write_module(folder: Path, module: Module, layout: Layout) -> None:
    config = dict(module.config)
    if module.kind == "Pooling":
        config["embedding_dimension"] = HIDDEN
        if layout.release < 6:
            modes = config.pop("pooling_mode")
            chosen = [modes] if isinstance(modes, str) else modes
            config |= {f"pooling_mode_{flag}": mode in chosen for mode, flag in _FLAGS.items()}
            config["word_embedding_dimension"] = config.pop("embedding_dimension")
    elif layout.release == 6 and module.kind in ("Dense", "Normalize"):
        config = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding", **config}
    if config:
        _write_json(folder / "config.json", config)
    if weights := module.weights():
        if layout.bin:
            torch.save(weights, folder / "pytorch_model.bin")
        else:
            (folder / "model.safetensors").write_bytes(safetensors.torch.save(weights))


def _encoder_config(layout: Layout) -> dict[str, Any]:
    lower = {"do_lower_case": layout.lower_case}
    if layout.release < 6:
        return {"max_seq_length": layout.max_seq_length, **lower}
    taken = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    task = {"transformer_task": "feature-extraction", "modality_config": taken}
    return {**task, "module_output_name": "token_embeddings", **(lower if layout.lower_case else {})}


def _write_tokenizer(target: Path, source: Path, layout: Layout) -> None:
    raw = json.loads((source / "tokenizer.json").read_text())
    raw["normalizer"] = None
    raw["model"]["vocab"] = {word: number for word, number in raw["model"]["vocab"].items() if number < VOCABULARY}
    if layout.encoder == "RoBERTa":  # counts positions by the id of its padding, 1
        other = {"[PAD]": 1, "[UNK]": 0}
        raw["model"]["vocab"] |= other
        for token in raw["added_tokens"]:
            token["id"] = other.get(token["content"], token["id"])
    _write_json(target / "tokenizer.json", raw)
    names = {name: f"[{name[:3].upper()}]" for name in ("cls_token", "sep_token", "pad_token", "unk_token")}
    length = {"model_max_length": layout.max_seq_length or 32} if layout.release == 6 else {}
    inputs = {"model_input_names": ["input_ids", "attention_mask"]} if layout.encoder == "DistilBERT" else {}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **names, **length, **inputs}
    _write_json(target / "tokenizer_config.json", config)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2))


# The reference


@torch.no_grad()
def encode(path: Path, layout: Layout, texts: Sequence[str] = TEXTS) -> Array:
    """Return the vectors (texts, width) that sentence-transformers' `encode` gives."""
    folder = path / "0_Transformer" if layout.release == 1 else path
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    skipped = len(_ids(tokenizer, layout, layout.prompt)) - 1 if layout.prompt else 0  # without the last special one
    vectors = []
    for text in texts:
        ids = _ids(tokenizer, layout, layout.prompt + text)[: layout.max_seq_length]
        if len(ids) == layout.max_seq_length:
            ids[-1] = tokenizer.token_to_id("[SEP]")
        states = model(input_ids=torch.tensor([ids])).last_hidden_state[0].double().numpy()
        vectors.append(_through(layout.modules, states, skipped)[: layout.settings.get("truncate_dim")])
    return np.stack(vectors)


def _ids(tokenizer: Tokenizer, layout: Layout, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text.lower() if layout.lower_case else text).ids
    return ids


def _through(modules: Sequence[Module], states: Array, skipped: int) -> Array:
    head, *rest = modules
    start = 0 if head.config["include_prompt"] else skipped
    modes = head.config["pooling_mode"]
    listed = [modes] if isinstance(modes, str) else modes
    vector = np.concatenate([_POOLED[mode](states, start) for mode in listed])
    for module in rest:
        vector = _applied(module, vector)
    return vector


_POOLED: Mapping[str, Callable[[Array, int], Array]] = {
    "cls": lambda states, start: states[0],
    "max": lambda states, start: states[start:].max(0),
    "mean": lambda states, start: states[start:].mean(0),
    "mean_sqrt_len_tokens": lambda states, start: states[start:].sum(0) / math.sqrt(len(states) - start),
    "weightedmean": lambda states, start: np.average(states[start:], 0, np.arange(start, len(states)) + 1.0),
    "lasttoken": lambda states, start: states[-1],
}

_ACTIVATED: Mapping[str, Callable[[Array], Array]] = {
    "Identity": lambda value: value,
    "Tanh": np.tanh,
    "ReLU": lambda value: np.where(value > 0, value, 0),
    "LeakyReLU": lambda value: np.where(value > 0, value, 0.01 * value),
    "ELU": lambda value: np.where(value > 0, value, np.expm1(value)),
    "Sigmoid": lambda value: 1 / (1 + np.exp(-value)),
    "SiLU": lambda value: value / (1 + np.exp(-value)),
    "GELU": lambda value: value / 2 * (1 + np.array([math.erf(each / math.sqrt(2)) for each in value])),
}


def _applied(module: Module, vector: Array) -> Array:
    weights = {name: tensor.double().numpy() for name, tensor in module.weights().items()}
    if module.kind == "Normalize":
        return vector / np.linalg.norm(vector)
    if module.kind == "LayerNorm":
        normed = (vector - vector.mean()) / np.sqrt(vector.var() + 1e-5)
        return np.asarray(normed * weights["norm.weight"] + weights["norm.bias"])
    if module.kind == "Dropout":
        return vector
    function = module.config["activation_function"].rpartition(".")[2]
    result = _ACTIVATED[function](weights["linear.weight"] @ vector + weights.get("linear.bias", 0))
    if not module.config.get("use_residual"):
        return result
    return result + (weights["residual.weight"] @ vector if "residual.weight" in weights else vector)
