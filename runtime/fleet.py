"""A fleet: engines of one process that share its CPUs, so that one model's burst makes the others' subnets smaller, not
their answers late."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gearshift.errors import InputError
from gearshift.number_checks import is_whole, shown
from gearshift.runtime.engine import Engine
from gearshift.runtime.inference.session import MOST_THREADS
from gearshift.runtime.serving.lifetime import CLOSE_S
from gearshift.runtime.serving.turns import Turns
from gearshift.runtime.startup import default_threads


class Fleet:
    """Engines over the same CPUs.

        with Fleet() as fleet:
            intent = fleet.load("intent.gearshift", priority=1)
            search = fleet.load("search.gearshift")
            intent.run("turn the lights off", deadline_ms=15)

    One call runs at a time, with all threads of the fleet: the highest priority first, among equals the earliest
    deadline. A decision counts the requests that wait at other engines of its priority and above, and those that
    usually come while a call runs.

    `threads`: threads of a call; by default half of the CPUs. Raises InputError for a number of threads that is none.
    """

    def __init__(self, *, threads: int | None = None) -> None:
        if threads is not None and not is_whole(threads, 1, MOST_THREADS):
            raise InputError(f"threads: expected a whole number from 1 to {MOST_THREADS}, got {shown(threads)}")
        self.threads = default_threads() if threads is None else threads
        self._turns = Turns()
        self._engines: list[Engine] = []

    def load(self, path: str | Path, *, priority: int = 0, **options: Any) -> Engine:
        """Load an engine as `Engine.load` does, with this fleet's threads.

        `priority`: from 0 to 100; requests of a higher one have their turn first, and those of a lower one do not make
        their subnets smaller. `options`: those of `Engine.load`, but for `threads`.
        Raises InputError, and as `Engine.load` does.
        """
        for name in ("threads", "share"):
            if name in options:
                raise InputError(f"{name}: expected none, as all engines of a fleet share its {self.threads} threads")
        engine = Engine.load(path, threads=self.threads, share=self._turns.share(priority), **options)
        self._engines.append(engine)
        return engine

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Engines that were loaded here, the first one first."""
        return tuple(self._engines)

    def close(self, timeout: float | None = CLOSE_S) -> bool:
        """Close all engines, each as `Engine.close` does; return whether all ended in time."""
        ended = [engine.close(timeout) for engine in self._engines]  # each, whatever comes of the others
        return all(ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
