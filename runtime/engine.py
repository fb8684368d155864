"""The entry for programs: texts and deadlines in, answers out."""

from __future__ import annotations

import contextlib
import math
import numbers
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.answers import Answer, RunFacts, read_answer
from gearshift.runtime.bundle import Bundle, open_bundle
from gearshift.runtime.cache import HashMemory
from gearshift.runtime.controller import Controller, Steering
from gearshift.runtime.decision_log import DecisionLog
from gearshift.runtime.errors import InputError
from gearshift.runtime.gate import Gate
from gearshift.runtime.latency import SlowDown
from gearshift.runtime.manifest import PoolEntry
from gearshift.runtime.packed import PackedCache
from gearshift.runtime.policy import Decision
from gearshift.runtime.profiles import save_table
from gearshift.runtime.providers import CPU
from gearshift.runtime.session import ElasticSession
from gearshift.runtime.startup import AUTO, default_threads, start
from gearshift.runtime.text import Encoded, Text, TextEncoder

FINISH_MS = 0.2
"""Kept back from the slack for what follows the graph: softmax and the answer. All but tokenizing
and the graph took 0.15 ms (median; 0.3 ms at the 95th percentile) on a busy two-core x86 machine."""


class Engine:
    """Answers texts within a deadline by picking, for each request, the subnet that fits.

        with Engine.load("sst2.gearshift", threads=2) as engine:
            answer = engine.run("a charming and often affecting journey", deadline_ms=15)
            answer.label, answer.score, answer.subnet, answer.latency_ms, answer.reason

    All methods may be called from several threads. `load` is the usual way to make one; the constructor
    takes the parts: a verified bundle, a session over it, the latency table for both, and a clock in seconds.
    """

    def __init__(
        self,
        bundle: Bundle,
        session: ElasticSession,
        table: LatencyTable,
        *,
        target: float = 0.99,
        log: DecisionLog | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._bundle = bundle
        self._session = session
        self._table = table
        self._log = log
        self._clock = clock
        self._encoder = TextEncoder(bundle)
        self._pool = bundle.pool(session.precision)
        accuracies = {name: entry.accuracy for name, entry in self._pool.items()}
        self._controller = Controller(accuracies, table, Steering(target=target))
        self._pinned: str | None = None
        self._gate = Gate()
        self._lock = threading.Lock()
        self._last: str | None = None
        self._counts = Counter(requests=0, met=0, missed=0, switches=0)
        self._runs_of = Counter(dict.fromkeys(self._pool, 0))

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        threads: int | None = None,
        precision: str = AUTO,
        profile: str | Path | None = None,
        target: float = 0.99,
        log: str | Path | None = None,
        providers: Sequence[str] = CPU,
        cache: bool = True,
    ) -> Self:
        """An engine for the bundle in directory `path`, verified, self-tested and timed on this machine.

        `threads` of one call: by default half of the CPUs. `precision`: `fp32`, `int8`, or `auto` for the
        fastest that is right on this CPU. `profile`: a file that `save_profile` wrote; without it every
        subnet is timed now, for a second or two. `target`: share of deadlines to keep. `log`: a file that
        gets one line of JSON for each request. `providers`: as in onnxruntime.
        `cache`: keep packed weights, and hashes of files that did not change, in the user's cache directory.

        Raises BundleError (IntegrityError, SchemaError, SelfTestError), ProfileError, InputError or
        StorageError.
        """
        bundle = open_bundle(path, sha256=HashMemory().sha256_of) if cache else open_bundle(path)
        SlowDown(target=target)  # refuses a wrong target before the slow part
        with contextlib.ExitStack() as undo:
            decisions = None if log is None else DecisionLog(log)
            if decisions is not None:
                undo.callback(decisions.close)
            session, table = start(
                bundle,
                precision=precision,
                threads=default_threads() if threads is None else threads,
                profile=profile,
                providers=providers,
                cache=PackedCache() if cache else None,
            )
            undo.callback(session.close)
            engine = cls(bundle, session, table, target=target, log=decisions)
            undo.pop_all()
        return engine

    @overload
    def run(self, text: Text, *, deadline_ms: float | None = None) -> Any: ...
    @overload
    def run(
        self, text: list[str] | list[tuple[str, str]] | list[Text], *, deadline_ms: float | None = None
    ) -> list[Any]: ...
    def run(self, text: Any, *, deadline_ms: float | None = None) -> Any:
        """The answer for a text or a pair (a tuple of two texts), or the answers for a list of those.

        An answer is a Classification, Regression, TokenClassification, QuestionAnswering or Embedding, as the
        bundle's task is (`answers`). A question and the text to find its answer in are a pair.

        A list runs as one batch, padded to its longest text, and its deadline holds for all of it. The time
        counts from this call. A deadline that no subnet keeps gets the fastest, and `reason` says
        `best_effort`. Raises InputError, or EngineClosedError after `close`.
        """
        began = self._clock()
        with self._gate.request():
            deadline = _checked_deadline(deadline_ms)
            if isinstance(text, list):
                return self._answers(text, deadline, began) if text else []
            return self._answers([text], deadline, began)[0]

    def _answers(self, texts: Sequence[Text], deadline: float | None, began: float) -> list[Answer]:
        encoded = self._encoder.encode(texts)
        started = self._clock()
        slack = None if deadline is None else deadline - (started - began) * 1e3 - FINISH_MS
        decision = self._decide(encoded, slack, started)
        outputs = self._session.run(encoded.inputs, self._pool[decision.name].choice)
        run_ms = (self._clock() - started) * 1e3
        finished = [self._read(output, encoded, row) for row, output in enumerate(outputs)]
        latency_ms = (self._clock() - began) * 1e3
        met = None if deadline is None else latency_ms <= deadline
        self._record(decision, met, len(texts), run_ms)
        if self._log is not None:
            self._write_log(encoded, decision, deadline, slack, run_ms, latency_ms)
        return [
            finish(
                RunFacts(
                    subnet=decision.name,
                    reason=decision.reason,
                    latency_ms=latency_ms,
                    predicted_ms=decision.predicted_ms,
                    deadline_ms=deadline,
                    deadline_met=met,
                    tokens=tokens,
                    truncated=truncated,
                )
            )
            for finish, tokens, truncated in zip(finished, encoded.tokens, encoded.truncated, strict=True)
        ]

    def _read(self, output: NDArray[np.float32], encoded: Encoded, row: int) -> Callable[[RunFacts], Answer]:
        """The answer for one text of a batch, but for the facts of its run."""
        if self._session.task.per_token:
            output = output[: encoded.tokens[row]]
        return read_answer(
            self._session.task.name, output, encoded.encodings[row], encoded.parts[row], self._bundle.manifest.labels
        )

    def _decide(self, encoded: Encoded, slack_ms: float | None, now: float) -> Decision:
        batch, pinned = len(encoded.tokens), self._pinned
        with self._lock:
            return self._controller.decide(
                length=encoded.length, batch=batch, slack_ms=slack_ms, now=now, pinned=pinned
            )

    def _record(self, decision: Decision, met: bool | None, batch: int, run_ms: float) -> None:
        with self._lock:
            self._controller.record(decision, run_ms=run_ms, met=met, now=self._clock(), batch=batch)
            self._counts["requests"] += 1
            self._counts["met"] += met is True
            self._counts["missed"] += met is False
            self._counts["switches"] += self._last not in (None, decision.name)
            self._runs_of[decision.name] += 1
            self._last = decision.name

    def _write_log(
        self,
        encoded: Encoded,
        decision: Decision,
        deadline_ms: float | None,
        slack_ms: float | None,
        run_ms: float,
        latency_ms: float,
    ) -> None:
        assert self._log is not None
        self._log.write(
            {
                "time": time.time(),
                "tokens": list(encoded.tokens),
                "deadline_ms": deadline_ms,
                "slack_ms": slack_ms,
                "subnet": decision.name,
                "reason": decision.reason,
                "expected_ms": decision.expected_ms,
                "predicted_ms": decision.predicted_ms,
                "run_ms": run_ms,
                "latency_ms": latency_ms,
                "slow_down": self.slow_down,
            }
        )

    def pin(self, name: str | None) -> None:
        """Use this subnet for every request, whatever its deadline; None goes back to choosing.

        Any subnet of the pool can be pinned, also one that is not on the ladder; raises UnknownSubnetError.
        """
        if name is not None:
            self._bundle.entry(name, self.precision)
        self._pinned = name

    def release_pages(self) -> int:
        """Give back the memory of weights that requests have touched so far; gives the bytes freed.

        For an engine that settled on a small subnet, or a device that runs short. Works with the packed-weight
        cache alone; what is needed again comes back from the file, which makes the first answer slower.
        """
        with self._gate.request():
            return self._session.release_pages()

    @property
    def labels(self) -> tuple[str, ...]:
        """What a text, or a word of it, can be classified as; empty where the task has no labels."""
        return self._bundle.manifest.labels

    @property
    def pool(self) -> dict[str, PoolEntry]:
        """Name -> pool entry at the engine's precision."""
        return dict(self._pool)

    @property
    def subnets(self) -> tuple[str, ...]:
        """Names of all subnets, as the bundle lists them."""
        return tuple(self._pool)

    @property
    def ladder(self) -> tuple[str, ...]:
        """Names of the subnets that are worth switching between on this device, the most accurate first."""
        return self._controller.ladder

    @property
    def bundle(self) -> Bundle:
        """What the engine runs."""
        return self._bundle

    @property
    def table(self) -> LatencyTable:
        """What each subnet costs on this machine, without the slow-down."""
        return self._table

    @property
    def precision(self) -> str:
        """`fp32` or `int8`."""
        return self._session.precision

    @property
    def threads(self) -> int:
        """Threads that one call uses."""
        return self._session.threads

    @property
    def slow_down(self) -> float:
        """Observed / expected latency of single texts: 1 is the machine as it was when it was timed."""
        with self._lock:
            return self._controller.slow_down

    def stats(self) -> dict[str, Any]:
        """Counts since loading: `requests` (a list is one), deadlines `met` and `missed`, `switches` from one
        subnet to another between two requests, and under `subnets` the requests that each one ran."""
        with self._lock:
            return {**self._counts, "subnets": dict(self._runs_of)}

    def save_profile(self, path: str | Path) -> None:
        """Keep the latency table in a device profile, for `load(..., profile=path)`; raises ProfileError.

        A profile of this device that is there already keeps its other tables.
        """
        save_table(path, self._table)

    def close(self) -> None:
        """Wait for the requests that are running, then free the weights. A second call does nothing."""
        if self._gate.close():
            self._session.close()
            if self._log is not None:
                self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checked_deadline(deadline_ms: object) -> float | None:
    if deadline_ms is None:
        return None
    # A bool is a number in Python, but no deadline. A NaN compares as false.
    if isinstance(deadline_ms, numbers.Real) and not isinstance(deadline_ms, bool):
        with contextlib.suppress(OverflowError):  # an integer too large for a float
            milliseconds = float(deadline_ms)
            if 0 < milliseconds < math.inf:
                return milliseconds
    raise InputError(f"deadline_ms: expected a positive number of milliseconds or None, got {deadline_ms!r}")
