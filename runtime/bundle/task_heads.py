"""Heads of a model with several tasks: one encoder, and for each head the form of its answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self

from gearshift.errors import InputError
from gearshift.runtime.bundle.tag_schemes import Scheme, recognise_known
from gearshift.runtime.bundle.tagging import Tagging
from gearshift.runtime.bundle.tasks import METRICS, TASKS, Task

HEAD_TASKS = ("classification", "token-classification")
"""Tasks of which a model can have several heads."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def is_head_name(name: object) -> bool:
    """Return whether a head can have this name: it is a part of the names of weights, outputs and arrays."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def output_name(task: str, head: str) -> str:
    """Return the name of the graph's output for a head; `head`: its name, empty for that of a model with one."""
    output = TASKS[task].output
    return f"{output}.{head}" if head else output


@dataclass(frozen=True)
class TaskHead:
    """Head of a model: its task, and what its outputs stand for."""

    name: str
    """Name of the head; empty for that of a model with one."""
    task: str
    """Name of one of `tasks.TASKS`; with a name, one of HEAD_TASKS."""
    metric: str
    """Name of the metric of its accuracies."""
    labels: tuple[str, ...]
    """Names of the labels in the order of the logits; empty if the task has none."""
    tagging: Tagging | None = None
    """Words and tags of token classification; None for other tasks, and in older bundles."""

    @property
    def form(self) -> Task:
        """Form of its outputs."""
        return TASKS[self.task]

    @property
    def output(self) -> str:
        """Name of the graph's output."""
        return output_name(self.task, self.name)

    @property
    def scheme(self) -> Scheme | None:
        """Scheme of the labels of token classification, that of the labels' form if none is recorded; else None."""
        if self.task != "token-classification":
            return None
        return recognise_known(self.labels) if self.tagging is None else self.tagging.scheme

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON; words and tags only if there are some."""
        tagging = {} if self.tagging is None else {"tagging": self.tagging.to_dict()}
        return {"name": self.name, "task": self.task, "metric": self.metric, "labels": list(self.labels), **tagging}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Read the head that `to_dict` wrote; raises InputError."""
        if not isinstance(raw["labels"], list):  # tuple() would split a text into letters
            raise InputError(f"labels of a head: expected a list, found {raw['labels']!r}")
        tagging = None if raw.get("tagging") is None else Tagging.from_dict(raw["tagging"])
        return cls(**{**raw, "labels": tuple(raw["labels"]), "tagging": tagging})


def check_task_heads(heads: tuple[TaskHead, ...]) -> None:
    """Raise InputError unless these can be the heads of one model: two or more, of names and tasks that are known,
    whose tags are of the same words."""
    names = [head.name for head in heads]
    if len(heads) < 2 or len(set(names)) < len(names) or not all(map(is_head_name, names)):
        raise InputError(f"heads: expected two or more, each with a name of its own such as intent, found {names!r}")
    for head in heads:
        if head.task not in HEAD_TASKS or head.metric not in METRICS:
            known = " or ".join(HEAD_TASKS)
            raise InputError(f"head {head.name}: expected a head for {known}, found {head.task!r} by {head.metric!r}")
        labels = head.labels
        if not labels or not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
            raise InputError(f"head {head.name}: labels (different texts): not usable: {labels!r}")
        if (head.tagging is not None) != (head.task == "token-classification"):
            raise InputError(f"head {head.name}: expected words and tags with token-classification, and with no other")
    rules = [head.tagging.words for head in heads if head.tagging is not None]
    if any(rule != rules[0] for rule in rules):
        raise InputError("heads: expected tags of the same words, found several rules of words")
