"""Answers of long texts, by the outputs of their windows: tags, the answer to a question, a vector."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError
from gearshift.runtime.inference.answers import Output, QuestionAnswering, RunFacts
from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.session import Outputs
from gearshift.runtime.inference.spans import answer_of_windows, window_span
from gearshift.runtime.inference.text import Encoded, Text
from gearshift.runtime.reading.reading import Read, TaskReading
from gearshift.runtime.reading.windows import LongText, checked_overlap, long_text

TASKS = ("token-classification", "question-answering", "embedding")
"""Tasks whose answers can be put together of windows."""


class WindowReading:
    """Reading of texts that were cut into windows: one answer for each text."""

    def __init__(self, own: TaskReading, texts: Sequence[LongText], *, normalized: bool) -> None:
        self._own, self._texts, self._normalized = own, texts, normalized
        self._merged: Callable[[LongText, str, list[Output]], Callable[..., RunFacts]] = {
            "token-classification": self._tags,
            "question-answering": self._answer,
            "embedding": self._vector,
        }[own.task.name]

    def read(self, subnet: str, outputs: Outputs, encoded: Encoded) -> list[Read]:
        """Read one answer for each text."""
        found, row = [], 0
        for text in self._texts:
            count = len(text.starts)
            finish = self._merged(text, subnet, list(outputs[row : row + count]))
            found.append(Read(finish, len(text.whole.ids), truncated=False, windows=count))
            row += count
        return found

    def _tags(self, text: LongText, subnet: str, outputs: list[Output]) -> Callable[..., RunFacts]:
        """Take the labels of each token from the window in which it has most context."""
        merged = np.zeros((len(text.whole.ids), outputs[0].shape[-1]), dtype=np.float32)
        for token, window in enumerate(text.nearest(), start=text.head):
            merged[token] = outputs[window][text.head + token - text.starts[window]]
        return self._own.answer(subnet, merged, text.whole, text.parts, text.split, (0,) * len(text.parts))

    def _answer(self, text: LongText, subnet: str, outputs: list[Output]) -> Callable[..., RunFacts]:
        """Take the most probable answer over all windows."""
        windows = text.windows()
        spans = [window_span(output, window) for output, window in zip(outputs, windows, strict=True)]
        found = answer_of_windows(spans, text.parts[-1], self._own.null_thresholds[subnet])
        answer = text.parts[-1][found.start : found.end]
        return functools.partial(QuestionAnswering, answer=answer, **vars(found))

    def _vector(self, text: LongText, subnet: str, outputs: list[Output]) -> Callable[..., RunFacts]:
        """Take the mean of the vectors, weighted by the tokens of their windows; of length 1 where each is."""
        if len(outputs) == 1:
            mean: NDArray[np.float32] = outputs[0]
        else:
            counts = np.array([len(text.places(window)) for window in range(len(outputs))], dtype=np.float64)
            exact = np.average(np.stack(outputs).astype(np.float64), axis=0, weights=counts)
            mean = (exact / np.linalg.norm(exact) if self._normalized else exact).astype(np.float32)
        return self._own.answer(subnet, mean, text.whole, text.parts, None, (0,))


class WindowReader:
    """Source of readings in windows, for one opened bundle."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        vectors = opened.bundle.manifest.vectors
        self._normalized = vectors is None or vectors.normalized

    def reading(
        self, texts: Sequence[Text], overlap: object, prompt: str | None = None
    ) -> tuple[Encoded, WindowReading]:
        """Return rows of all windows of some texts, and their reading; raise InputError for what cannot be read so.

        `prompt`: prompt of every window; None for that of the bundle.
        """
        task, tokens = self._opened.bundle.manifest.task, checked_overlap(overlap)
        if task not in TASKS:
            raise InputError(f"overlap: expected a bundle for {', '.join(TASKS)}, got {task}; leave it out")
        encoder = self._opened.texts
        several, paired = len(texts) > 1, task == "question-answering"
        found = [
            long_text(encoder, text, tokens, paired=paired, where=f"text {n}: " if several else "", prompt=prompt)
            for n, text in enumerate(texts)
        ]
        rows = [(text, window) for text in found for window in text.windows()]
        encoded = encoder.made(
            [window for _, window in rows],
            [False] * len(rows),
            [text.parts for text, _ in rows],
            [None] * len(rows),
            [(0,) * len(text.parts) for text, _ in rows],
        )
        return encoded, WindowReading(TaskReading(self._opened), found, normalized=self._normalized)
