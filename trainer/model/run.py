"""Run directories: written by a training, read by everything after it.

A run directory is a Hugging Face checkpoint of the full net, with `supernet.json` (subnets, settings and data of the
training) and `pool.json` (measured subnets). A search adds `tables.json`, and writes the subnets that it chose into
`pool.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import safetensors.torch
from torch import Tensor

from gearshift.errors import InputError, ModelError
from gearshift.runtime.bundle.tasks import MULTI_TASK, TASKS
from gearshift.runtime.files.atomic import replacing_directory, sha256_of
from gearshift.runtime.space.space import Space, cut_space
from gearshift.runtime.space.subnet import L, Subnet
from gearshift.runtime.tables.tables import Tables
from gearshift.runtime.tables.tables_file import TABLES, load_tables
from gearshift.schema import Schema, read_json
from gearshift.trainer.data.batches import EncodedRows, encode
from gearshift.trainer.data.heads import DataHead, encode_heads
from gearshift.trainer.data.place import find_place
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.tokenizer import save_tokenizer
from gearshift.trainer.model.checkpoint import PROBLEM_TYPES, Checkpoint, M, load_checkpoint
from gearshift.trainer.model.configs import read_config
from gearshift.trainer.model.head_files import HEADS_FILE, heads_content
from gearshift.trainer.model.huggingface import checkpoint_state, note_head_order
from gearshift.trainer.model.loading import quiet, set_dtype
from gearshift.trainer.model.names import ARCHITECTURES
from gearshift.trainer.model.sentence_files import write_sentence_model

SUPERNET = "supernet.json"
POOL = "pool.json"
WEIGHTS = "model.safetensors"
SUBNET = "gearshift-subnet.json"
"""File that marks a directory as a subnet that was cut out of a supernet."""

SCHEMA = Schema(version=1, advice="train again", error=ModelError)

FACTS: Mapping[str, type] = {
    "columns": dict,
    "settings": dict,
    "rows": dict,
    "metrics": dict,
    "dev_metrics": dict,
    "max_length": int,
    "data": str,
    "heads": list,
}
"""Field of supernet.json that other commands read, if it is there -> its type."""
JSON_NAMES = {dict: "object", int: "whole number", str: "text", list: "list"}


@dataclass(frozen=True)
class Run(Generic[M, L]):
    """Trained supernet in a run directory; `nasbert.run.MixedRun` has nets of blocks."""

    path: Path
    checkpoint: Checkpoint[M]
    subnets: dict[str, Subnet[L]]
    """Name -> subnet, largest first: the pool that a search chose, or else the trained subnets."""
    accuracies: dict[str, float]
    """Name -> metric on the test rows, for the measured subnets."""
    facts: dict[str, Any]
    """Facts of the training: settings, data, rows; for a supernet all of supernet.json."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Name -> threshold of no answer, chosen on dev rows; empty unless questions without an answer were learnt."""
    dev_accuracies: dict[str, float] = field(default_factory=dict)
    """Name -> metric on the dev rows, by which subnets are chosen; empty in the runs of earlier releases."""

    @property
    def task(self) -> str:
        """Name of the task, one of `tasks.TASKS`."""
        return self.checkpoint.task

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the model's logits."""
        return self.checkpoint.labels

    @property
    def columns(self) -> dict[str, str]:
        """Columns of the training data, by the names of `read_data`'s arguments."""
        return dict(self.facts.get("columns", {}))

    @property
    def trained(self: Run) -> dict[str, Subnet]:
        """Name -> trained subnet, largest first, even if a search chose another pool."""
        return _subnets(self.facts)

    @property
    def depth(self) -> int:
        """Number of layers (or blocks) of the full net."""
        return max((len(subnet.layers) for subnet in self.subnets.values()), default=0)

    def space(self, layers_per_stage: int = 1) -> Space[Any, Any]:
        """Return the space of the subnets, in stages of `layers_per_stage` layers; blocks are switched one by one."""
        shape: Any = self.checkpoint.model.shape
        subnets: list[Any] = list(self.subnets.values())
        return cut_space(shape, subnets, layers_per_stage)

    def block_tables(self) -> Tables[Any, Any] | None:
        """Read the block tables that a bundle of this run ships; None without a search.

        Raises SchemaError for tables of another net.
        """
        path = self.path / TABLES
        if not path.is_file():
            return None
        return load_tables(path, shape=self.checkpoint.model.shape, supernet=sha256_of(self.path / WEIGHTS))

    def require_one_head(self, what: str) -> None:
        """Raise InputError if the model has several heads, which `what` cannot take."""
        if self.checkpoint.heads:
            names = ", ".join(head.name for head in self.checkpoint.heads)
            raise InputError(
                f"{self.path}: has several heads ({names}), which {what} cannot take; use a run of one task"
            )

    def require_tuned(self) -> None:
        """Raise InputError if the subnets were not tuned for a task."""

    def require_transformers(self) -> None:
        """Raise InputError if transformers has no class for the subnets."""

    @property
    def data_path(self) -> Path | None:
        """Path of the training data, if it is known and still exists."""
        return find_place(self.facts.get("data"))


def save_run(
    target: Path,
    checkpoint: Checkpoint,
    *,
    subnets: dict[str, Subnet],
    accuracies: dict[str, float],
    facts: dict[str, Any],
    files: Mapping[str, str] | None = None,
    thresholds: Mapping[str, float] | None = None,
    dev_accuracies: Mapping[str, float] | None = None,
) -> None:
    """Write a run directory atomically; raises StorageError.

    `files`: name -> text of further files. `accuracies`, `dev_accuracies`, `thresholds`: as in `Run`. The `AutoModel`
    class of the task (`AutoModelForSequenceClassification` ...) loads the full net from the directory.
    """
    shape = checkpoint.model.shape
    supernet = {
        "schema_version": SCHEMA.version,
        "task": checkpoint.task,
        "labels": list(checkpoint.labels),
        **({"heads": [head.to_dict() for head in checkpoint.heads]} if checkpoint.heads else {}),
        "subnets": {name: [list(layer) for layer in subnet.layers] for name, subnet in subnets.items()},
        **facts,
    }
    pool = [
        {
            "name": name,
            "accuracy": accuracies.get(name),
            "parameters": subnet.parameters(shape),
            **optional_fields(name, dev_accuracy=dev_accuracies, null_threshold=thresholds),
        }
        for name, subnet in subnets.items()
    ]
    with replacing_directory(target, marker=SUPERNET) as fresh, quiet():
        config = _config_of(checkpoint)
        config.save_pretrained(fresh)
        state = _checkpoint_state(checkpoint, config)
        # Written as bytes, so that a full disk raises OSError as it does everywhere else.
        (fresh / WEIGHTS).write_bytes(safetensors.torch.save(state, metadata={"format": "pt"}))
        if checkpoint.heads:
            (fresh / HEADS_FILE).write_bytes(heads_content(checkpoint.model, checkpoint.heads))
        if checkpoint.task == "embedding":
            write_sentence_model(fresh, checkpoint.model, shape.hidden, checkpoint.sentence)
        save_tokenizer(checkpoint, fresh)
        for name, text in (files or {}).items():
            (fresh / name).write_text(text, encoding="utf-8")
        for name, content in ((SUPERNET, supernet), (POOL, pool)):
            (fresh / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _checkpoint_state(checkpoint: Checkpoint, config: Any) -> dict[str, Tensor]:
    """Return the weights of the class of transformers for the task; of several heads those of the encoder alone."""
    if checkpoint.heads:
        return checkpoint_state(checkpoint.model.encoder_state(), config, "embedding")
    return checkpoint_state(checkpoint.model.state_dict(), config, checkpoint.task)


def optional_fields(name: str, **values: Mapping[str, float] | None) -> dict[str, float]:
    """Return the fields of a subnet in pool.json that not every run has, of those with values by subnet."""
    return {field: of[name] for field, of in values.items() if of}


def read_optional(entries: Sequence[Mapping[str, Any]], field: str) -> dict[str, float]:
    """Read a field of the entries of pool.json, such as `null_threshold`, by name of those that have it."""
    return {entry["name"]: float(entry[field]) for entry in entries if entry.get(field) is not None}


def encode_held_out(run: Run[Any, Any], rows: Sequence[Row]) -> EncodedRows:
    """Tokenize held-out rows as a run reads them: its length, its labels and, if it embeds, its prompt."""
    checkpoint = run.checkpoint
    if checkpoint.heads:
        length = int(run.facts["max_length"])
        return encode_heads(rows, checkpoint.heads, checkpoint.tokenizer, max_length=length, held_out=True)
    return encode(
        rows,
        checkpoint.labels,
        checkpoint.tokenizer,
        max_length=int(run.facts["max_length"]),
        task=checkpoint.task,
        held_out=True,
        prompt=checkpoint.sentence.prompt,
    )


def _config_of(checkpoint: Checkpoint) -> Any:
    """Return the source's config with the task and the labels of the model."""
    task = TASKS["embedding" if checkpoint.heads else checkpoint.task]  # AutoModel loads the encoder of several heads
    names = checkpoint.labels or [f"LABEL_{index}" for index in range(task.outputs or 0)]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    config = read_config(checkpoint.source, **(labels if names else {}))
    set_dtype(config, checkpoint.model)
    config.architectures = [ARCHITECTURES[config.model_type].class_name(task.name)]
    config.problem_type = PROBLEM_TYPES.get(task.name)  # replaces that of the source's task
    note_head_order(config, checkpoint.model)
    return config


def load_supernet(path: Path) -> Run:
    """Read the supernet in a run directory; raises ModelError if there is none."""
    description = path / SUPERNET
    if not description.is_file():
        raise ModelError(
            f"{path}: expected a run directory with {SUPERNET}, found none; make one with `gearshift train`"
        )
    facts, labels, task, heads, trained = SCHEMA.read(description, _description)
    chosen, accuracies, dev_accuracies, thresholds = read_json(
        path / POOL, _pool, error=ModelError, advice=SCHEMA.advice
    )
    subnets = chosen or trained
    checkpoint = load_checkpoint(path, labels, task=task, heads=heads)
    if checkpoint.lacking:
        raise ModelError(f"{path / WEIGHTS}: has no {' and no '.join(checkpoint.lacking)}; train again")
    if not checkpoint.has_classifier:
        raise ModelError(f"{description}: its labels are not those of the model beside it; train again")
    for name, subnet in subnets.items():
        if not subnet.fits(checkpoint.model.shape):
            raise ModelError(f"{description}: subnet {name} does not fit the model beside it; train again")
    return Run(path, checkpoint, subnets, accuracies, facts, thresholds, dev_accuracies)


def _description(
    facts: dict[str, Any],
) -> tuple[dict[str, Any], list[str], str, tuple[DataHead, ...], dict[str, Subnet]]:
    """Return all of supernet.json, its labels, its task, its heads if there are several, and the trained subnets."""
    labels = read_labels(facts["labels"])
    for name, kind in FACTS.items():
        if facts.get(name) is not None and (not isinstance(facts[name], kind) or isinstance(facts[name], bool)):
            raise ValueError(f"{name}: expected a JSON {JSON_NAMES[kind]}, found {facts[name]!r}")
    heads, task = tuple(map(DataHead.from_dict, facts.get("heads", ()))), facts.get("task", "classification")
    if bool(heads) != (task == MULTI_TASK):
        raise ValueError(f"heads: expected some with the task {MULTI_TASK} alone, found {len(heads)} with {task!r}")
    return facts, labels, task if heads else TASKS[task].name, heads, _subnets(facts)


def read_labels(raw: Any) -> list[str]:
    """Read the labels of a run from JSON; raises ValueError."""
    if not isinstance(raw, list) or not all(isinstance(label, str) for label in raw):
        raise ValueError(f"labels: expected a list of names, found {raw!r}")
    twice = next((label for label in raw if raw.count(label) > 1), None)
    if twice is not None:
        raise ValueError(f"labels: expected names that differ, found {twice!r} twice")
    return raw


def _pool(
    entries: list[dict[str, Any]],
) -> tuple[dict[str, Subnet], dict[str, float], dict[str, float], dict[str, float]]:
    """Return the subnets that a search chose (none without a search), the accuracies on test and on dev rows, and the
    thresholds of no answer."""
    chosen = {}
    if any("subnet" in entry for entry in entries):
        chosen = {e["name"]: Subnet(tuple((heads, neurons) for heads, neurons in e["subnet"])) for e in entries}
    accuracies = {entry["name"]: float(entry["accuracy"]) for entry in entries if entry["accuracy"] is not None}
    return chosen, accuracies, read_optional(entries, "dev_accuracy"), read_optional(entries, "null_threshold")


def _subnets(facts: Mapping[str, Any]) -> dict[str, Subnet]:
    """Return name -> subnet, from the fields of supernet.json."""
    return {
        name: Subnet(tuple((heads, neurons) for heads, neurons in layers)) for name, layers in facts["subnets"].items()
    }
