"""How everything here is timed: in one process, in turns, pinned to its cores, medians and their ratios."""

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


def pin(threads: int = 1) -> list[int]:
    """Keep this process on as many of the last cores as it has threads; gives their numbers (none where it cannot)."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))[-threads:]
    os.sched_setaffinity(0, cores)
    return cores


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
