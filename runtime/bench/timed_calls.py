"""Timed calls of profiling at one number of threads."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from gearshift.device_profiles.batch_times import BatchTimes
from gearshift.runtime.bench.choices import Switches, designed_choices, random_choices
from gearshift.runtime.bench.contention import Contention
from gearshift.runtime.bench.gaps import GapEffect, gap_effects
from gearshift.runtime.bench.plan import CHECKED, Plan, threads_text
from gearshift.runtime.bench.result import Checked, Conditions, Measured
from gearshift.runtime.bench.stage_latency import PERCENTILES, fit_stage_latency
from gearshift.runtime.bench.stopwatch import Sample, Stopwatch
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.opened import Opened, random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.profiles.batches_timed import measure_batches
from gearshift.runtime.profiles.timing import WARM_UP
from gearshift.runtime.sensors.memory import Memory, read_memory
from gearshift.runtime.space.space import Choice

REPEATS = 2
"""Largest number of times that a disturbed call is repeated."""

FEWEST_CALLS = 12
"""Fewest calls per precision and length for a fit."""

MOST_ROUNDS = 800
"""Largest number of rounds: beyond it the remaining error is that of the additive model."""

CHECK_EVERY = 3
"""Calls of the fit per check; 1 if more checks than the default are planned."""

CHECK_CALLS = 5
"""Calls of each subnet and length that a prediction is checked with."""

LEAST_CLEAN = 0.6
"""Share of undisturbed calls below which figures of several threads are refused: the calls that are left are a biased
sample."""

MEAN_COST = 0.7
"""Mean time of the design's subnets / time of the largest subnet."""


@dataclass
class _Group:
    """Calls at one precision and length."""

    precision: str
    length: int
    design: Iterator[Choice]
    calls: list[tuple[Choice, float]] = field(default_factory=list)


class TimedBlock:
    """Open sessions of all precisions, with the times of their calls.

    The caller shortens `lengths` if there is no time for all. `stack` closes the sessions.
    """

    def __init__(
        self, bundle: Bundle, plan: Plan, threads: int, cores: list[int], clock: Callable[[], float], stack: ExitStack
    ) -> None:
        self.threads, self.lengths = threads, plan.lengths
        self._bundle, self._plan, self._clock, self._cores = bundle, plan, clock, tuple(cores)
        self._draw = random.Random(f"{plan.seed} {threads}")
        self._switches = Switches.of(bundle.manifest.space)
        self._sessions: dict[str, ElasticSession] = {}
        self._load_ms: dict[str, float] = {}
        self._first_ratio: dict[str, float] = {}
        self._memory: dict[str, Memory | None] = {}
        self._gaps: dict[str, tuple[GapEffect, ...]] = {}
        self._inputs = {n: random_inputs(bundle, n, batch=plan.batch) for n in (*plan.lengths, *between(plan.lengths))}
        self._cost_ms: dict[tuple[str, int], float] = {}
        self._check_every = CHECK_EVERY if plan.checked <= CHECKED else 1
        self._checks: dict[tuple[str, int, Choice], list[float]] = {}
        self._batches: dict[str, BatchTimes | None] = {}
        self._calls = self._disturbed = 0
        for precision in plan.precisions:
            self._open(precision, stack)
        opened = Opened.of(bundle, self._sessions[plan.precisions[0]])
        self._dan = dan_calls(opened, plan.lengths) if plan.batch == 1 else {}
        self._dan_ms: dict[int, list[float]] = {length: [] for length in self._dan}
        self._watch = stack.enter_context(Stopwatch(threads))
        self._groups = [self._group(precision, n) for precision in plan.precisions for n in plan.lengths]

    def _open(self, precision: str, stack: ExitStack) -> None:
        """Open the session of a precision, and warm it up on the largest subnet."""
        before, began = read_memory(), self._clock()
        session = self._sessions[precision] = ElasticSession(self._bundle, precision, threads=self.threads)
        stack.callback(session.close)
        self._load_ms[precision] = (self._clock() - began) * 1e3
        largest = self._largest(precision)
        first = None
        for length, inputs in sorted(self._inputs.items()):
            times = []
            for _ in range(WARM_UP):
                began = self._clock()
                session.run_heads(inputs, largest)
                times.append((self._clock() - began) * 1e3)
            first = first or times[0]
            self._cost_ms[precision, length] = min(times[1:])
        after = read_memory()
        self._memory[precision] = after.less(before) if after and before else None
        self._first_ratio[precision] = (first or 0.0) / self._cost_ms[precision, min(self._inputs)]

    def _largest(self, precision: str) -> Choice:
        return max(self._bundle.pool(precision).values(), key=lambda entry: entry.macs).choice

    def _group(self, precision: str, length: int) -> _Group:
        pool = [entry.choice for entry in self._bundle.pool(precision).values()]
        return _Group(precision, length, designed_choices(self._switches, pool, self._draw.randrange(2**30)))

    def needed_s(self, lengths: Sequence[int]) -> float:
        """Return the seconds that FEWEST_CALLS and their checks take at these lengths."""
        round_ms = sum(self._cost_ms[precision, length] for precision in self._sessions for length in lengths)
        return round_ms * MEAN_COST * FEWEST_CALLS * (1 + 1 / self._check_every) / 1e3

    def time(self, until: float, at_most: float, progress: Callable[[], None]) -> None:
        """Make rounds of calls in random order: one per precision and length, and in some rounds a check.

        They end at `until`, but not before FEWEST_CALLS rounds; in any case they end at `at_most`.
        """
        groups = [group for group in self._groups if group.length in self.lengths]
        unseen = self._unseen(until)
        for number in range(MOST_ROUNDS):
            if self._clock() >= (until if number >= FEWEST_CALLS else at_most):
                break
            todo: list[tuple[_Group, int, Choice | None]] = [(group, group.length, None) for group in groups]
            if number % self._check_every == self._check_every - 1:
                length, checked = unseen[(number // self._check_every) % len(unseen)]
                todo += [(group, length, checked) for group in groups if group.length == self.lengths[0]]
            for length, dan_call in self._dan.items():
                self._dan_ms[length].append(self._watch.time(dan_call).wall_ms)
            self._draw.shuffle(todo)
            for group, length, checked_choice in todo:
                self._note(group, length, checked_choice)
            progress()

    def _note(self, group: _Group, length: int, checked: Choice | None) -> None:
        choice = next(group.design) if checked is None else checked
        milliseconds = self._call(group.precision, length, choice)
        if milliseconds is None:
            return
        if checked is None:
            group.calls.append((choice, milliseconds))
        else:
            self._checks.setdefault((group.precision, length, choice), []).append(milliseconds)

    def _unseen(self, until: float) -> list[tuple[int, Choice]]:
        """Return (length, choice) of the checks: as many as there is time to call CHECK_CALLS times each."""
        rounds = FEWEST_CALLS * (until - self._clock()) / self.needed_s(self.lengths)
        enough = int(min(rounds, MOST_ROUNDS) / self._check_every / CHECK_CALLS)
        count = max(3, min(self._plan.checked, enough))
        pool = [entry.choice for entry in self._bundle.pool(self._plan.precisions[0]).values()]
        # With a single stage every option is in the fit: only calls and lengths of the checks are new, not the subnets.
        choices = random_choices(self._switches, count, self._plan.seed + 17, pool) or pool
        lengths = itertools.cycle((*self.lengths, *between(self.lengths)))
        return [(next(lengths), choices[place % len(choices)]) for place in range(count)]

    def _call(self, precision: str, length: int, choice: Choice) -> float | None:
        """Return the time in ms without waiting; None if the call waited and the waiting cannot be subtracted."""
        call = partial(self._sessions[precision].run_heads, self._inputs[length], choice)
        best: Sample | None = None
        for _ in range(1 + REPEATS):
            sample = self._watch.time(call)
            self._calls += 1
            if not sample.disturbed:
                return sample.wall_ms
            self._disturbed += 1
            best = sample if best is None or sample.waited_ms < best.waited_ms else best
        assert best is not None
        return best.wall_ms - best.waited_ms if self.threads == 1 else None

    def time_gaps(self, seconds: float) -> None:
        """Time calls after pauses: the largest subnet of the fastest precision, on the shortest text."""
        length = min(self.lengths)
        precision = min(self._sessions, key=lambda name: self._cost_ms[name, length])
        call = partial(self._sessions[precision].run_heads, self._inputs[length], self._largest(precision))

        def timed_ms() -> float:
            sample = self._watch.time(call)
            return sample.wall_ms - (sample.waited_ms if self.threads == 1 else 0.0)

        usual = statistics.median(timed_ms() for _ in range(2 * WARM_UP))
        self._gaps[precision] = gap_effects(timed_ms, usual, seconds=seconds)

    def time_batches(self, seconds: float) -> None:
        """Time calls of several texts for about so many seconds."""
        for precision, session in self._sessions.items():
            budget_s = seconds / len(self._sessions)
            self._batches[precision] = measure_batches(self._bundle, session, self.lengths, budget_s=budget_s)

    def refusal(self, contention: Contention) -> str | None:
        """Return the reason to refuse these figures as disturbed by other processes; None if they are usable.

        With one thread, waiting was subtracted, so that too few calls are the only reason.
        """
        counts = [len(group.calls) for group in self._groups if group.length in self.lengths]
        disturbed = self._disturbed / max(self._calls, 1)
        blind = contention.busy and not self._watch.counts_waiting
        if min(counts, default=0) >= FEWEST_CALLS // 2 and (
            self.threads == 1 or (1 - disturbed >= LEAST_CLEAN and not blind)
        ):
            return None
        others = "" if contention.others_cpus is None else f"others used {contention.others_cpus:.1f} CPUs, and "
        return (
            f"{threads_text(self.threads)}: {others}{disturbed:.0%} of {self._calls} calls had to wait for a CPU; "
            "stop what else runs and measure again"
        )

    def measured(self, contention: Contention) -> list[Measured]:
        """Fit each precision, and return it with its checks."""
        return [self._fit(precision, contention) for precision in self._sessions]

    def _fit(self, precision: str, contention: Contention) -> Measured:
        groups = [group for group in self._groups if group.precision == precision and group.length in self.lengths]
        calls = tuple((choice, group.length, ms) for group in groups for choice, ms in group.calls)
        stages = fit_stage_latency(self._switches, calls)
        return Measured(
            conditions=Conditions(precision, self.threads, self._plan.batch),
            cores=self._cores,
            stages=stages,
            calls=calls,
            checked=tuple(
                Checked(choice, length, stages.predict(choice, length), statistics.median(times), len(times))
                for (of, length, choice), times in self._checks.items()
                if of == precision
            ),
            disturbed=self._disturbed / max(self._calls, 1),
            contention=contention,
            load_ms=self._load_ms[precision],
            first_call_ratio=self._first_ratio[precision],
            memory=self._memory[precision],
            gaps=self._gaps.get(precision, ()),
            dan=tuple(_times(self._dan_ms[length]) for length in self.lengths if length in self._dan_ms),
            batches=self._batches.get(precision),
        )


def dan_calls(opened: Opened, lengths: Sequence[int]) -> dict[int, Callable[[], object]]:
    """Return length -> a function that runs the bundle's DAN once on a text of that length; {} without a DAN."""
    if opened.bundle.dan is None:
        return {}
    run = opened.executors[opened.bundle.dan.name]
    return {length: partial(run, opened.random_text(length), None) for length in lengths}


def _times(milliseconds: Sequence[float]) -> dict[int, float]:
    """Return percentile -> milliseconds."""
    return {percentile: float(np.percentile(milliseconds, percentile)) for percentile in (50, *PERCENTILES)}


def between(lengths: Sequence[int]) -> tuple[int, ...]:
    """Return lengths for checks only: the middle between each two fitted lengths."""
    return tuple((low + high) // 2 for low, high in itertools.pairwise(lengths) if high - low > 1)
