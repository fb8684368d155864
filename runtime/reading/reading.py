"""How outputs of the graph become the answers of a request: by default one answer of the bundle's task for each row."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tokenizers import Encoding

from gearshift.runtime.bundle.task_heads import TaskHead
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.inference.answers import MultiTask, Output, RunFacts, read_answer
from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.session import Outputs
from gearshift.runtime.inference.text import Encoded
from gearshift.runtime.inference.words import SplitText


@dataclass(frozen=True)
class Read:
    """Answer that was read of outputs, but for the facts of its run."""

    finish: Callable[..., RunFacts]
    """Function that completes the answer by the fields of `RunFacts`."""
    tokens: int
    """Number of tokens that were read for it."""
    truncated: bool
    windows: int = 1
    """Number of windows that were read for it."""


class Reading(Protocol):
    """Reader of the outputs of one request."""

    def read(self, subnet: str, outputs: Outputs, encoded: Encoded) -> list[Read]:
        """Read the answers of a subnet's outputs, one output for each row of `encoded`."""


class TaskReading:
    """Reading of one answer for each row, as the bundle's task has it."""

    def __init__(self, opened: Opened) -> None:
        manifest = opened.bundle.manifest
        self.task, self._labels, self._scheme = TASKS[manifest.task], manifest.labels, manifest.scheme
        self._images = manifest.images
        entries = opened.bundle.entries(opened.session.precision)
        self.null_thresholds = {name: entry.null_threshold for name, entry in entries.items()}

    def read(self, subnet: str, outputs: Outputs, encoded: Encoded) -> list[Read]:
        """Read one answer for each row."""
        return [self._read(subnet, output, encoded, row) for row, output in enumerate(outputs)]

    def _read(self, subnet: str, output: Output, encoded: Encoded, row: int) -> Read:
        if self.task.per_token:
            output = output[: encoded.tokens[row]]
        text = (encoded.encodings[row], encoded.parts[row], encoded.splits[row], encoded.starts[row])
        return Read(self.answer(subnet, output, *text), encoded.tokens[row], encoded.truncated[row])

    def answer(
        self,
        subnet: str,
        output: Output,
        encoding: Encoding,
        parts: Sequence[str],
        split: SplitText | None,
        starts: Sequence[int],
    ) -> Callable[..., RunFacts]:
        """Read the answer of one text, as `read_answer` does."""
        return read_answer(
            self.task.name,
            output,
            encoding,
            parts,
            self._labels,
            null_threshold=self.null_thresholds[subnet],
            scheme=self._scheme,
            split=split,
            starts=starts,
            images=self._images,
        )


class HeadsReading:
    """Reading of one answer for each row, with an answer of every head in it."""

    def __init__(self, opened: Opened) -> None:
        self._heads = opened.bundle.manifest.heads

    def read(self, subnet: str, outputs: Outputs, encoded: Encoded) -> list[Read]:
        """Read one answer for each row, whose output is a tuple with that of each head."""
        return [self._read(output, encoded, row) for row, output in enumerate(outputs)]

    def _read(self, outputs: Sequence[Output], encoded: Encoded, row: int) -> Read:
        finish = {
            head.name: _answer(head, output, encoded, row) for head, output in zip(self._heads, outputs, strict=True)
        }
        return Read(functools.partial(_joined, finish), encoded.tokens[row], encoded.truncated[row])


def _answer(head: TaskHead, output: Output, encoded: Encoded, row: int) -> Callable[..., RunFacts]:
    """Read the answer of a head for one row."""
    return read_answer(
        head.task,
        output[: encoded.tokens[row]] if head.form.per_token else output,
        encoded.encodings[row],
        encoded.parts[row],
        head.labels,
        scheme=head.scheme,
        split=encoded.splits[row],
        starts=encoded.starts[row],
    )


def _joined(finish: Mapping[str, Callable[..., Any]], **facts: Any) -> MultiTask:
    """Return the answers of all heads, each completed by the facts of the run that they share."""
    return MultiTask(heads={name: complete(**facts) for name, complete in finish.items()}, **facts)


def own_reading(opened: Opened) -> Reading:
    """Return the reading of a bundle's own answers."""
    return HeadsReading(opened) if opened.bundle.manifest.heads else TaskReading(opened)
