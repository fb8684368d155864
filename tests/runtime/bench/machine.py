"""A device whose times are made up, so that what is calibrated is known and depends on no CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from gearshift.runtime.bench import profiling, timed_calls
from gearshift.runtime.bench.contention import Contention
from gearshift.runtime.bench.plan import Plan
from gearshift.runtime.bench.result import Calibration
from gearshift.runtime.bench.stopwatch import Sample, Stopwatch
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.space.space import Choice, Space

LOOK_S = 0.001
"""Time that goes by between two looks at the clock."""

DAN_MS = 0.02


class Others:
    """Sensors that say so many CPUs of others."""

    def __init__(self, cpus: float) -> None:
        self.cpus = cpus

    def lap(self) -> Contention:
        return Contention(self.cpus, None)


class Machine:
    """A device whose calls take what their multiply-accumulates say, by a clock of its own.

    `samples`: what a call that takes so many milliseconds looks like, and how often there was one before. Real
    sessions make the calls: only what they took is made up.
    """

    def __init__(
        self,
        bundle: Bundle,
        samples: Callable[[float, int], Sample] = lambda ms, before: Sample(ms, 0.0),
        *,
        look_s: float = LOOK_S,
    ) -> None:
        assert isinstance(bundle.manifest.space, Space)
        self.space, self.samples, self.look_s = bundle.manifest.space, samples, look_s
        self.now_s, self.calls = 0.0, 0

    def clock(self) -> float:
        self.now_s += self.look_s
        return self.now_s

    def takes_ms(self, choice: Choice, tokens: int) -> float:
        return 0.05 + 1e-6 * self.space.subnet(choice).macs(self.space.shape, tokens)

    def stopwatch(self, threads: int) -> Stopwatch:
        machine = self

        class Watch(Stopwatch):
            def time(self, call: Callable[[], object]) -> Sample:
                assert isinstance(call, partial)
                inputs, choice = call.args
                call()
                ms = DAN_MS if choice is None else machine.takes_ms(choice, inputs["input_ids"].shape[1])
                sample = machine.samples(ms, machine.calls)
                machine.calls += 1
                machine.now_s += sample.wall_ms / 1e3
                return sample

        return Watch(threads)

    def take_over(self, patch: pytest.MonkeyPatch, *, others: float = 0.0) -> None:
        """Let every calibration have its times, beside others who keep so many CPUs busy."""
        patch.setattr(timed_calls, "Stopwatch", self.stopwatch)
        patch.setattr(profiling, "ContentionWatch", lambda: Others(others))

    def calibrate(self, bundle: Bundle, plan: Plan, *, others: float = 0.0, **options: Any) -> Calibration:
        with pytest.MonkeyPatch.context() as patch:
            self.take_over(patch, others=others)
            return profiling.calibrate(bundle, plan, clock=self.clock, **options)
