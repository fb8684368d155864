"""Checkpoints: a Hugging Face model in, a run directory out, and back.

A run directory is a plain Hugging Face checkpoint of the full-size net plus `supernet.json` (the
subnets, the layers of each depth, how it was trained) and `pool.json` (measured subnets).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import transformers
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor

from gearshift.runtime.errors import ModelError
from gearshift.runtime.space import EncoderShape, Subnet
from gearshift.runtime.storage import replacing_directory
from gearshift.trainer.model import Dropout, ElasticClassifier
from gearshift.trainer.names import ARCHITECTURES, CLASSES, from_checkpoint, to_checkpoint

SUPERNET = "supernet.json"
POOL = "pool.json"
SCHEMA_VERSION = 1
TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt")
"""What a tokenizer has beside tokenizer.json; whichever of them are there are taken along."""


@dataclass(frozen=True)
class Checkpoint:
    """A classifier with what belongs to it."""

    model: ElasticClassifier
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    """In the order of the model's logits."""
    source: Path
    has_classifier: bool
    """Whether the checkpoint brought a classifier for these labels, or one was made at random."""


@dataclass(frozen=True)
class Run:
    """A trained supernet as it lies in a run directory."""

    path: Path
    checkpoint: Checkpoint
    subnets: dict[str, Subnet]
    """Name -> subnet, largest first."""
    accuracies: dict[str, float]
    """Name -> share of test rows answered right, as training measured it."""
    facts: dict[str, Any]
    """All of supernet.json."""

    @property
    def data_path(self) -> Path | None:
        """The data that it was trained on, where that is known and still there."""
        path = self.facts.get("data")
        return Path(path) if path is not None and Path(path).exists() else None


def load_checkpoint(path: Path, labels: Sequence[str]) -> Checkpoint:
    """A classifier for these labels on the encoder of a Hugging Face checkpoint; raises ModelError.

    Where the checkpoint is a classifier of the same set of labels, its head and their order are kept.
    """
    config = _read_config(path)
    known = tuple(str(name) for _, name in sorted(config.id2label.items()))
    is_classifier = any("SequenceClassification" in name for name in config.architectures or ())
    has_classifier = is_classifier and set(known) == set(labels)
    ordered = known if has_classifier else tuple(labels)
    with _quiet():
        weights = _load_weights(path, config.model_type, len(ordered))
        tokenizer = _load_tokenizer(path)
    model = ElasticClassifier(
        _shape_of(config),
        len(ordered),
        dropout=Dropout(config.hidden_dropout_prob, config.attention_probs_dropout_prob),
        norm_eps=config.layer_norm_eps,
    )
    state = model.state_dict()
    model.load_state_dict(from_checkpoint(weights, list(state), config.model_type))
    return Checkpoint(model, tokenizer, ordered, path, has_classifier)


def save_run(
    target: Path,
    checkpoint: Checkpoint,
    *,
    subnets: dict[str, Subnet],
    accuracies: dict[str, float],
    facts: dict[str, Any],
) -> None:
    """Write a run directory, whole or not at all; raises StorageError.

    `AutoModelForSequenceClassification.from_pretrained(target)` loads the full-size net from it.
    """
    shape = checkpoint.model.shape
    supernet = {
        "schema_version": SCHEMA_VERSION,
        "labels": list(checkpoint.labels),
        "subnets": {name: [list(layer) for layer in subnet.layers] for name, subnet in subnets.items()},
        **facts,
    }
    pool = [
        {"name": name, "accuracy": accuracies[name], "parameters": subnet.parameters(shape)}
        for name, subnet in subnets.items()
    ]
    with replacing_directory(target, marker=SUPERNET) as fresh, _quiet():
        config = transformers.AutoConfig.from_pretrained(
            checkpoint.source,
            local_files_only=True,
            id2label=dict(enumerate(checkpoint.labels)),
            label2id={label: index for index, label in enumerate(checkpoint.labels)},
        )
        config.architectures = [CLASSES[config.model_type]]
        config.save_pretrained(fresh)
        state = to_checkpoint(checkpoint.model.state_dict(), config.model_type)
        # As bytes, so that a full disk is an OSError like everywhere else.
        (fresh / "model.safetensors").write_bytes(safetensors.torch.save(state, metadata={"format": "pt"}))
        _save_tokenizer(checkpoint, fresh)
        for name, content in ((SUPERNET, supernet), (POOL, pool)):
            (fresh / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _save_tokenizer(checkpoint: Checkpoint, target: Path) -> None:
    for name in TOKENIZER_FILES:
        if (checkpoint.source / name).is_file():
            # Not `shutil.copyfile`, which names the source where the target's disk is full.
            (target / name).write_bytes((checkpoint.source / name).read_bytes())
    (target / "tokenizer.json").write_text(checkpoint.tokenizer.to_str(), encoding="utf-8")


def load_run(path: Path) -> Run:
    """The supernet in a run directory; raises ModelError where it is none."""
    description = path / SUPERNET
    if not description.is_file():
        raise ModelError(
            f"{path}: expected a run directory with {SUPERNET}, found none; make one with `gearshift train`"
        )
    try:
        facts = json.loads(description.read_text(encoding="utf-8"))
        version = facts["schema_version"]
        subnets = {
            name: Subnet(tuple((heads, neurons) for heads, neurons in layers))
            for name, layers in facts["subnets"].items()
        }
        labels = facts["labels"]
        pool = json.loads((path / POOL).read_text(encoding="utf-8"))
        accuracies = {entry["name"]: float(entry["accuracy"]) for entry in pool}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{description}: not readable ({error}); train again") from error
    if version != SCHEMA_VERSION:
        raise ModelError(f"{description}: expected schema version {SCHEMA_VERSION}, found {version!r}; train again")
    checkpoint = load_checkpoint(path, labels)
    if not checkpoint.has_classifier:
        raise ModelError(f"{description}: its labels are not those of the model beside it; train again")
    for name, subnet in subnets.items():
        if not subnet.fits(checkpoint.model.shape):
            raise ModelError(f"{description}: subnet {name} does not fit the model beside it; train again")
    return Run(path, checkpoint, subnets, accuracies, facts)


def _read_config(path: Path) -> Any:
    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: no model that transformers can read ({_first_line(error)})") from error
    if config.model_type not in ARCHITECTURES:
        raise ModelError(
            f"{path}: architecture {config.model_type!r} is not supported; expected one of {', '.join(ARCHITECTURES)}"
        )
    for name, expected in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        found = getattr(config, name, expected)
        if found != expected:
            raise ModelError(f"{path}: {name} {found!r} is not supported; expected {expected!r}")
    return config


def _shape_of(config: Any) -> EncoderShape:
    return EncoderShape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        neurons=config.intermediate_size,
        vocabulary=config.vocab_size,
        positions=config.max_position_embeddings,
        types=config.type_vocab_size,
    )


def _load_weights(path: Path, model_type: str, labels: int) -> Mapping[str, Tensor]:
    """The checkpoint's weights by its own names; a pooler and a classifier that it lacks are made at random."""
    try:
        loaded, report = transformers.AutoModelForSequenceClassification.from_pretrained(
            path, num_labels=labels, local_files_only=True, ignore_mismatched_sizes=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{path}: no weights that transformers can read ({_first_line(error)})") from error
    names = ARCHITECTURES[model_type]
    # Versions of transformers differ in whether a mismatch is a name, or a name with two shapes.
    mismatched = (key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])
    made = [*report["missing_keys"], *mismatched]
    random = sorted(name for name in made if not name.startswith((names["pooler"], names["classifier"])))
    if random:
        raise ModelError(
            f"{path}: {len(random)} weights of the encoder are missing or of another shape ({random[0]}); "
            "the weights do not belong to this config.json"
        )
    state: Mapping[str, Tensor] = loaded.state_dict()
    return state


def _load_tokenizer(path: Path) -> Tokenizer:
    try:
        loaded = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True, use_fast=True)
    except Exception as error:  # a damaged file raises whatever its parser does
        raise ModelError(f"{path}: no tokenizer that transformers can read ({_first_line(error)})") from error
    if not loaded.is_fast:
        raise ModelError(f"{path}: no tokenizer.json, and none can be made of its tokenizer; add one")
    tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers warns that a new classifier is new, which is what was asked for; its level is put back."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
