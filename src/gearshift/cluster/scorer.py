"""Scorer: answers for batches of a table, one engine in each process that gets them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.errors import InputError
from gearshift.number_checks import shown
from gearshift.runtime import Engine, Words
from gearshift.runtime.bundle.tasks import MULTI_TASK
from gearshift.runtime.inference.answers import plain_answer

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "classification": ("label", "score"),
    "multi-label-classification": ("labels",),
    "regression": ("value",),
    "token-classification": ("entities",),
    "question-answering": ("answer", "start", "end", "score", "answerable"),
    "embedding": ("vector",),
    MULTI_TASK: ("heads",),
}
"""Task -> fields of an answer that become columns, beside `FACTS`."""

FACTS = ("subnet", "truncated")
RAISE, NONE = "raise", "none"
ON_REFUSED = (RAISE, NONE)


class Scorer:
    """Callable that adds the answers of a bundle to a batch of a table.

        actors = ray.data.ActorPoolStrategy(size=2)  # of Ray Data, with an engine each
        data.map_batches(Scorer, fn_constructor_args=("mine.gearshift",), compute=actors)
        data.map(Scorer("mine.gearshift"), batched=True)  # of datasets
        frame.mapInPandas(Scorer("mine.gearshift").frames, schema)  # of Spark

    A batch is a mapping of columns to lists or arrays, or a DataFrame of pandas; it comes back with further columns,
    named `prefix` and a field of the answers. The engine is loaded at the first batch; when a Scorer is pickled its
    arguments travel, not the engine.

    `text`: name of the column of the text; a text may be the list of words of one to tag. `pair`: name of that of the
    second text; None without. `on_refused`: `raise` for a text that is none, such as an empty one, or `none` for empty
    answers there.
    `options`: of `Engine.load`. One thread and no sensors unless they are named: processes share the cores, and heat
    shall not decide which subnet scores a row. Without a deadline the most accurate subnet does, or with
    `min_accuracy` the fastest above it.
    Raises InputError, and at the first batch what `Engine.load` raises.
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        text: str = "text",
        pair: str | None = None,
        prefix: str = "predicted_",
        on_refused: str = RAISE,
        **options: Any,
    ) -> None:
        if on_refused not in ON_REFUSED:
            raise InputError(f"on_refused: expected {' or '.join(ON_REFUSED)}, got {shown(on_refused)}")
        self._bundle, self._text, self._pair, self._prefix = Path(bundle), text, pair, prefix
        self._gives_up = on_refused == RAISE
        self._options = {"threads": 1, "sensors": False, **options}
        self._engine: Engine | None = None
        self._process = 0

    def __call__(self, batch: Any) -> Any:
        """Return a batch with the columns of the answers."""
        is_frame = hasattr(batch, "assign")
        if not is_frame and not isinstance(batch, Mapping):
            raise InputError(f"batch: expected columns by name or a DataFrame, got {type(batch).__name__}")
        columns = self._columns(batch)
        return batch.assign(**columns) if is_frame else {**batch, **columns}

    def frames(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield each DataFrame with the columns of its answers, as Spark's `mapInPandas` wants it."""
        return map(self, batches)

    def close(self) -> None:
        """Close the engine of this process, if it was loaded; another batch loads it again."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}

    def _loaded(self) -> Engine:
        """Return the engine of this process; that of its parent is no use after a fork."""
        if self._engine is None or self._process != os.getpid():
            self._engine, self._process = Engine.load(self._bundle, **self._options), os.getpid()
        return self._engine

    def _columns(self, batch: Any) -> dict[str, list[Any]]:
        """Return name -> values of the columns to add."""
        engine, texts = self._loaded(), self._texts(batch)
        engine.bundle.manifest.require_texts("score a corpus")
        names = (*COLUMNS[engine.bundle.manifest.task], *FACTS)
        taken = [f"{self._prefix}{name}" for name in names if f"{self._prefix}{name}" in batch]
        if taken:
            raise InputError(f"batch: expected no column {taken[0]!r}, which is to be added; name another prefix")
        rows = [None if answer is None else plain_answer(answer) for answer in self._answers(engine, texts)]
        return {f"{self._prefix}{name}": [None if row is None else row[name] for row in rows] for name in names}

    def _texts(self, batch: Any) -> list[Any]:
        columns = [self._column(batch, name) for name in (self._text, self._pair) if name is not None]
        if len(columns) == 2:
            if len(columns[0]) != len(columns[1]):
                raise InputError(
                    f"batch: expected columns of one length, got {len(columns[0])} texts and {len(columns[1])}"
                )
            return list(zip(*columns, strict=True))
        return [text if isinstance(text, str) or not _is_list(text) else Words(list(text)) for text in columns[0]]

    def _column(self, batch: Any, name: str) -> Sequence[Any]:
        if name not in batch:
            raise InputError(
                f"batch: expected a column {name!r}, got {shown(sorted(map(str, batch)))}; name the text's"
            )
        column = batch[name]
        if isinstance(column, str):
            raise InputError(
                f"batch: expected a column {name!r} of texts, got one text; map batches (batched=True, map_batches)"
            )
        return [value.item() if isinstance(value, np.generic) else value for value in column]

    def _answers(self, engine: Engine, texts: list[Any]) -> list[Any]:
        """Return an answer for each text; None for one that is refused, if that is wanted."""
        if not texts:
            return []
        try:
            answers: list[Any] = engine.run(texts)
            return answers
        except InputError:
            if self._gives_up:
                raise
        return [self._one(engine, text) for text in texts]

    def _one(self, engine: Engine, text: Any) -> Any:
        try:
            return engine.run(text)
        except InputError:
            return None


def _is_list(text: object) -> bool:
    return isinstance(text, list | tuple | np.ndarray)
