"""How everything here is timed: in one process, in turns, pinned to one core, medians and their ratios."""

from __future__ import annotations

import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnxruntime

from gearshift.device_profiles import read_fingerprint


@dataclass(frozen=True)
class Times:
    """Wall times of one candidate."""

    median_ms: float
    p95_ms: float
    runs: int


def pin_to_one_core() -> int:
    """Keep this process on the last core that it may use; gives its number (-1 where that cannot be set)."""
    if not hasattr(os, "sched_setaffinity"):
        return -1
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def interleave(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int = 30, warm_up: int = 3, seed: int = 0
) -> dict[str, Times]:
    """Run every candidate once a round, each round in another order, so that drift meets all alike."""
    order = list(candidates)
    shuffler = random.Random(seed)
    for run in candidates.values():
        for _ in range(warm_up):
            run()
    times: dict[str, list[float]] = {name: [] for name in order}
    for _ in range(rounds):
        shuffler.shuffle(order)
        for name in order:
            began = time.perf_counter()
            candidates[name]()
            times[name].append((time.perf_counter() - began) * 1e3)
    return {name: _times(values) for name, values in times.items()}


def _times(values: list[float]) -> Times:
    ordered = sorted(values)
    return Times(statistics.median(ordered), ordered[int(len(ordered) * 0.95)], len(ordered))


def device() -> dict[str, object]:
    """What the figures were measured on."""
    versions = {"onnxruntime": onnxruntime.__version__, "python": platform.python_version()}
    return read_fingerprint(versions).to_dict()
