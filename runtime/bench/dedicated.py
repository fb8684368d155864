"""Time of every subnet of a bundle on this device, compared with a dedicated graph that computes the same."""

from __future__ import annotations

import contextlib
import datetime
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from gearshift.errors import InputError
from gearshift.number_checks import is_whole
from gearshift.runtime.bench.plan import chosen_lengths
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.profiles.store import this_device
from gearshift.runtime.profiles.timing import WARM_UP, Times, interleave, pinned
from gearshift.runtime.space.space import Space


@dataclass(frozen=True)
class Rival:
    """Dedicated graph of one subnet: the same operators without switches, one segment per layer."""

    session: ElasticSession
    choice: tuple[int, ...]
    segments: int
    """Largest number of segments that the bundle's graph uses for a layer of the subnet."""


Rivals = Callable[[str, str, int], contextlib.AbstractContextManager[Rival]]
"""(precision, subnet, threads) -> its rival, open as long as the context is."""
Progress = Callable[[str, int, int], None]
"""Callback with the subject of the timing, and the number of parts done and planned."""


@dataclass(frozen=True)
class Row:
    """Times of one subnet at one precision and length, with those of its dedicated graph."""

    subnet: str
    precision: str
    tokens: int
    times: Times
    dedicated: Times
    segments: int
    """Number of segments, as in `Rival`."""

    @property
    def ratio(self) -> float:
        """Median time / median time of the dedicated graph."""
        return self.times.median_ms / self.dedicated.median_ms

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON; times in ms."""
        facts = {"subnet": self.subnet, "precision": self.precision, "tokens": self.tokens, **asdict(self.times)}
        return {**facts, "segments": self.segments, "dedicated": asdict(self.dedicated), "ratio": self.ratio}


@dataclass(frozen=True)
class BenchReport:
    """Measured times of a bundle and its dedicated graphs, with the conditions of the measurement."""

    bundle: Bundle
    lengths: tuple[int, ...]
    rounds: int
    threads: int
    cores: list[int]
    """Cores that the process was pinned to; empty if the system does not support pinning."""
    rows: tuple[Row, ...]

    @property
    def mean_ratios(self) -> dict[str, dict[int, float]]:
        """Precision -> tokens -> mean ratio over the subnets."""
        return {
            precision: {
                tokens: statistics.mean(r.ratio for r in self.rows if (r.precision, r.tokens) == (precision, tokens))
                for tokens in self.lengths
            }
            for precision in dict.fromkeys(row.precision for row in self.rows)
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON; times in ms."""
        facts = {
            "bundle": str(self.bundle.origin),
            "hash": self.bundle.hash,
            "granularity": granularity(self.bundle.manifest.space),
            "date": datetime.date.today().isoformat(),
            "device": this_device().to_dict(),
            "threads": self.threads,
            "cores": self.cores,
            "batch": 1,
            "rounds": self.rounds,
            "warm_up": WARM_UP,
            "rows": [row.to_dict() for row in self.rows],
        }
        return {**facts, "mean_ratios": self.mean_ratios}


def run_bench(
    bundle: Bundle,
    rivals: Rivals,
    *,
    precisions: Sequence[str] | None = None,
    lengths: Sequence[int] | None = None,
    rounds: int = 20,
    threads: int = 1,
    progress: Progress = lambda what, done, planned: None,
) -> BenchReport:
    """Time every subnet in turns with its rival, at every precision and length, batch 1, on as many cores as threads.

    Raises InputError for lengths that the bundle does not accept, and for more threads than this process has CPUs.
    """
    chosen = chosen_lengths(bundle, lengths)
    if not is_whole(rounds, 1):
        raise InputError(f"rounds: expected a whole number of at least 1, got {rounds!r}")
    rows: list[Row] = []
    with pinned(threads) as cores:
        for precision in precisions or bundle.precisions:
            bundle.pool(precision)
            with contextlib.closing(ElasticSession(bundle, precision, threads=threads)) as session:
                rows += _Bench(bundle, session, chosen, rounds, progress).beside(rivals)
    return BenchReport(bundle, chosen, rounds, threads, cores, tuple(rows))


def granularity(space: Space[Any, Any]) -> str:
    """Return the unit of switching: each `layer` alone, the whole `pool` in one stage, or a `block` of layers."""
    if all(stage.length == 1 for stage in space.stages):
        return str(space.shape.unit)
    return "pool" if len(space.stages) == 1 else "block"


@dataclass(frozen=True)
class _Bench:
    bundle: Bundle
    session: ElasticSession
    lengths: tuple[int, ...]
    rounds: int
    progress: Progress

    def beside(self, rivals: Rivals) -> list[Row]:
        precision, pool = self.session.precision, self.bundle.pool(self.session.precision)
        rows = []
        for done, (name, entry) in enumerate(pool.items()):
            self.progress(f"{precision}, subnets", done, len(pool))
            with rivals(precision, name, self.session.threads) as rival:
                mine, its = self._calls(self.session, entry.choice), self._calls(rival.session, rival.choice)
                calls = {
                    (whose, tokens): whose_calls[tokens]
                    for whose, whose_calls in (("mine", mine), ("its", its))
                    for tokens in self.lengths
                }
                raw = interleave(calls, rounds=self.rounds)
            times = {key: Times.of(values) for key, values in raw.items()}
            rows += [
                Row(name, precision, tokens, times["mine", tokens], times["its", tokens], rival.segments)
                for tokens in self.lengths
            ]
        self.progress(f"{precision}, subnets", len(pool), len(pool))
        return rows

    def _calls(self, session: ElasticSession, choice: Sequence[int]) -> dict[int, Callable[[], object]]:
        """Return tokens -> a function that runs the subnet once on a text of that length."""
        return {tokens: partial(session.run, random_inputs(self.bundle, tokens), choice) for tokens in self.lengths}
