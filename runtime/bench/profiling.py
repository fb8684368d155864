"""Measures a bundle on this device within a time budget: every stage and option, so that every subnet can be predicted.

1. For each number of threads, the sessions of all precisions are open together, and their calls take turns in random
   order. Half of the choices are the pool's, half come from a design (`design`).
2. A call that waited for a CPU is repeated. With one thread, what a call did without a CPU can be taken off; with more
   it cannot, and the call is dropped. Where too many are, the figures are refused.
3. Some calls, of subnets and at lengths that the fit never sees, check the prediction.
4. The operators of the probe are timed, and the costs that they give are checked with the bundle.
5. What does not fit into the budget is left out and named, largest number of threads first, then longest texts.
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
"""Of the budget, for calls after pauses, and for the operators."""

MOST_GAPS_S = 6.0

LEAST_OPERATORS_S = 1.0
"""Seconds for the operators at one precision and number of threads below which they are left out."""

MOST_OPERATORS_S = 3.0

OVERTIME = 0.25
"""Of the budget, that a block may take on top for its fewest calls."""

Progress = Callable[[str, float, float], None]
"""Called with what is timed, and the seconds that are used and planned."""


def calibrate(
    bundle: Bundle,
    plan: Plan,
    *,
    operators: bool = True,
    progress: Progress = lambda what, done, planned: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Calibration:
    """Measure what the plan asks for, as far as its budget goes; `operators`: those of the probe too, on real CPUs.

    Raises InputError where the budget is too short for anything, and BundleError where a graph does not load.
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
    """One calibration."""

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
        """Block after block; the first one shows what the budget is good for."""
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
            until = end - gaps_s - operators_s
            block.time(
                until,
                until + OVERTIME * self.plan.budget_s,
                lambda: self.progress(threads_text(threads), self.used_s, self.plan.budget_s),
            )
            if gaps_s:
                self.progress("calls after pauses", self.used_s, self.plan.budget_s)
                block.time_gaps(gaps_s)
            contention = self.contention.lap()
            refusal = block.refusal(contention)
            if refusal is not None:
                self.refused.append(refusal)
                return []
            new = block.measured(contention)
        self.measured += new
        return new

    def _fit_into_budget(self, block: TimedBlock) -> None:
        """Leave out what there is no time for: threads, then lengths; raises InputError where nothing fits."""
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
            elif one.contention.busy:  # their times are wall times
                self.skipped.append(f"{what} (others were busy)")
            elif seconds < LEAST_OPERATORS_S:
                self.skipped.append(f"{what} (no time)")
            else:
                self.progress(what, self.used_s, self.plan.budget_s)
                self.operators.append(profile_operators(self.bundle, one, seconds=min(seconds, MOST_OPERATORS_S)))
