"""Profiling of a bundle on this device within a time budget.

All options of all stages are measured, so that the latency of any subnet can be predicted.

1. For each number of threads, the sessions of all precisions are open together, and their calls take turns in random
   order. Half of the choices come from the pool, half from a design (`choices`).
2. A call that waited for a CPU is repeated. With one thread, the waiting time can be subtracted. With more threads it
   cannot, and the call is dropped. If too many calls are dropped, the figures are refused.
3. Some calls check the prediction, with subnets and lengths that the fit does not see.
4. The operators of the probe are timed, and the fitted operator costs are checked against the bundle.
5. Conditions that do not fit into the budget are left out and reported: largest number of threads first, then longest
   texts.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable

from gearshift.device_profiles import OperatorCosts
from gearshift.errors import InputError
from gearshift.runtime.bench.contention import ContentionWatch
from gearshift.runtime.bench.operators.costs import NEEDED_MB, profile_operators
from gearshift.runtime.bench.plan import Plan, threads_text
from gearshift.runtime.bench.result import Calibration, Measured
from gearshift.runtime.bench.timed_calls import TimedBlock
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS
from gearshift.runtime.profiles.store import this_device
from gearshift.runtime.profiles.timing import pinned
from gearshift.runtime.sensors.sensors import Sensors

GAPS_SHARE = 0.08
OPERATORS_SHARE = 0.2
"""Shares of the budget for calls after pauses, and for the operators."""

MOST_GAPS_S = 6.0
"""Longest time for calls after pauses."""

BATCHES_SHARE = 0.05
"""Share of the budget for calls of several texts, for each number of threads."""

LEAST_OPERATORS_S = 1.0

MOST_OPERATORS_S = 3.0
"""Shortest and longest time for the operators at one precision and number of threads; with less they are left out."""

OVERTIME = 0.25
"""Share of the budget that a block may use beyond its time to make its fewest calls."""

Progress = Callable[[str, float, float], None]
"""Callback with the subject of the timing, and the seconds used and planned."""


def calibrate(
    bundle: Bundle,
    plan: Plan,
    *,
    operators: bool = True,
    progress: Progress = lambda what, done, planned: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Calibration:
    """Profile a bundle on this device as planned, as far as the budget goes.

    `operators`: time the operators of the probe too; only at batch 1, and not on an emulated CPU.
    Raises InputError if the budget is too short for anything, and BundleError if a graph does not load.
    """
    device = this_device()
    run = _Run(bundle, plan, operators and plan.batch == 1 and device.emulator is None, progress, clock)
    run.measure()
    return Calibration(
        bundle=bundle,
        device=device,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        budget_s=plan.budget_s,
        seconds=clock() - run.began,
        measured=tuple(run.measured),
        operators=tuple(run.operators),
        skipped=tuple(run.skipped),
        refused=tuple(run.refused),
    )


class _Run:
    """Run of one profiling: its state, block by block."""

    def __init__(
        self, bundle: Bundle, plan: Plan, with_operators: bool, progress: Progress, clock: Callable[[], float]
    ) -> None:
        self.bundle, self.plan, self.progress, self.clock = bundle, plan, progress, clock
        self.with_operators = with_operators
        self.began = clock()
        self.todo, self.lengths = list(plan.threads), plan.lengths
        self.measured: list[Measured] = []
        self.operators: list[OperatorCosts] = []
        self.skipped: list[str] = []
        self.refused: list[str] = []
        self.contention = ContentionWatch()

    @property
    def used_s(self) -> float:
        return self.clock() - self.began

    @property
    def left_s(self) -> float:
        return self.plan.budget_s - self.used_s

    def measure(self) -> None:
        """Measure block by block; the first block shows how much fits into the budget."""
        for place, threads in enumerate(self.plan.threads):
            if threads in self.todo:
                with pinned(threads) as cores:
                    share_s = self.left_s / len([other for other in self.todo if other >= threads])
                    new = self._block(threads, cores, share_s, first=place == 0)
                    if new and self.with_operators:
                        self._profile(threads, new, share_s * OPERATORS_SHARE / len(self.plan.precisions))

    def _block(self, threads: int, cores: list[int], share_s: float, *, first: bool) -> list[Measured]:
        with contextlib.ExitStack() as stack:
            end = self.clock() + share_s
            self.contention.lap()
            block = TimedBlock(self.bundle, self.plan, threads, cores, self.clock, stack)
            if first:
                self._fit_into_budget(block)
                end = self.clock() + self.left_s / len(self.todo)
            block.lengths = self.lengths
            gaps_s = min(self.plan.budget_s * GAPS_SHARE, MOST_GAPS_S) if first else 0.0
            operators_s = (end - self.clock()) * OPERATORS_SHARE if self.with_operators else 0.0
            batches_s = share_s * BATCHES_SHARE if self.plan.batch == 1 else 0.0
            until = end - gaps_s - batches_s - operators_s
            block.time(
                until,
                until + OVERTIME * self.plan.budget_s,
                lambda: self.progress(threads_text(threads), self.used_s, self.plan.budget_s),
            )
            if gaps_s:
                self.progress("calls after pauses", self.used_s, self.plan.budget_s)
                block.time_gaps(gaps_s)
            if batches_s:
                self.progress("calls of several texts", self.used_s, self.plan.budget_s)
                block.time_batches(batches_s)
            contention = self.contention.lap()
            refusal = block.refusal(contention)
            if refusal is not None:
                self.refused.append(refusal)
                return []
            new = block.measured(contention)
        self.measured += new
        return new

    def _fit_into_budget(self, block: TimedBlock) -> None:
        """Leave out numbers of threads, then lengths, until the rest fits; raises InputError if nothing does."""
        available = self.left_s * (1 - GAPS_SHARE)
        while block.needed_s(self.lengths) * len(self.todo) > available:
            if len(self.todo) > 1:
                self.skipped.append(f"{threads_text(self.todo.pop())} (no time)")
            elif len(self.lengths) > 1:
                self.skipped.append(f"{self.lengths[-1]} tokens (no time)")
                self.lengths = self.lengths[:-1]
            else:
                enough = self.used_s + 1.2 * block.needed_s(self.lengths)
                raise InputError(
                    f"budget: expected {enough:.0f} s or more for {self.lengths[0]} tokens and "
                    f"{threads_text(self.todo[0])} on this device, got {self.plan.budget_s:g} s"
                )

    def _profile(self, threads: int, measured: list[Measured], seconds: float) -> None:
        for one in measured:
            precision = one.conditions.precision
            if precision not in CPU_PRECISIONS:
                continue
            what = f"operators at {precision} with {threads_text(threads)}"
            memory_mb = Sensors().read().memory_available_mb.value
            if memory_mb is not None and memory_mb < NEEDED_MB:
                self.skipped.append(f"{what} ({memory_mb:.0f} MB are free, {NEEDED_MB} needed)")
            elif one.contention.busy:  # operators are timed by the wall clock
                self.skipped.append(f"{what} (others were busy)")
            elif seconds < LEAST_OPERATORS_S:
                self.skipped.append(f"{what} (no time)")
            else:
                self.progress(what, self.used_s, self.plan.budget_s)
                self.operators.append(profile_operators(self.bundle, one, seconds=min(seconds, MOST_OPERATORS_S)))
