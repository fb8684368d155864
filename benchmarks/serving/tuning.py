"""Settings of the policies, each at its best: searched on the simulator's own traces, with seeds of their own."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.serving.subjects import SUBJECTS, ladder_of, play
from gearshift.runtime.simulate.simulator import Ladder
from gearshift.runtime.simulate.traces import TRACES, Scale, Trace, make_trace

SEEDS, DURATION_S = (101,), 40.0
"""Seeds and seconds of the traces, different from those that results are reported on."""

BOTH = (False, True)
GRIDS: dict[str, dict[str, Sequence[float]]] = {
    "cpu-stepper": {
        "window": (1, 2, 4, 8, 16),
        "high": (0.02, 0.05, 0.1, 0.15, 0.3, 0.6, 1.0),
        "low": (0.0, 0.01, 0.02, 0.05, 0.1),
        "limit": (0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2),
    },
    "schmitt": {
        "on": (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0),
        "off": (0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75),
        "votes": (1, 3, 10, 30, 100, 300, 1000),
        "queue": BOTH,
    },
    "slackfit": {
        "safety": (1.35, 1.75, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0),
        "buckets": (8, 16, 32, 64, 128, 256),
        "queue": BOTH,
    },
    "alert": {"queue": BOTH},
    "kalman": {
        "noise": (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.8),
        "memory": (0.0, 0.03, 0.1, 0.3, 0.5, 0.7, 1.0),
        "least": (0.003, 0.01, 0.02, 0.035, 0.05, 0.1, 0.2),
        "queue": BOTH,
    },
    "bandit": {
        "discount": (0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998),
        "width": (0.003, 0.01, 0.03, 0.1, 0.3),
        "steps": (0.25, 0.5, 1, 2, 4),
        "queue": BOTH,
    },
}
"""Grids of the rivals, the values of each setting in rising order."""

LIMITS: dict[tuple[str, str], str] = {
    ("cpu-stepper", "low"): "0: it never steps up",
    ("cpu-stepper", "high"): "1: the processor's use never makes it step down",
    ("cpu-stepper", "window"): "1: it decides after each request",
    ("schmitt", "votes"): "1: the flag goes at the first calm request",
    ("kalman", "memory"): "0: the process noise is constant; 1: it follows the newest innovation alone",
    ("slackfit", "buckets"): "at the end of the grid a bucket is 1.5 % of the largest subnet's time",
}
"""Settings whose best value may be the first or the last of the grid, since there is nothing beyond that differs."""

START: dict[tuple[str, str], float] = {
    ("cpu-stepper", "window"): 8,
    ("cpu-stepper", "high"): 0.6,
    ("cpu-stepper", "low"): 0.0,
    ("cpu-stepper", "limit"): 0.5,
    ("schmitt", "on"): 2.0,
    ("schmitt", "off"): 0.9,
    ("schmitt", "votes"): 30,
    ("slackfit", "safety"): 3.5,
    ("slackfit", "buckets"): 256,
    ("kalman", "noise"): 0.03,
    ("kalman", "memory"): 0.5,
    ("kalman", "least"): 0.01,
    ("bandit", "discount"): 0.995,
    ("bandit", "width"): 0.01,
    ("bandit", "steps"): 0.5,
}
"""Settings that were best before; the search begins there, and else in the middle of the grid."""

Score = float
Case = tuple[Trace, Ladder]


def cases() -> list[Case]:
    """Return the traces that settings are tuned on, with their ladders: none of the recorded ones."""
    found = []
    for subject in SUBJECTS:
        ladder = ladder_of(subject)
        for seed, name in itertools.product(SEEDS, TRACES):
            found.append((make_trace(name, Scale(ladder.table, ladder.names[0], seed, DURATION_S)), ladder))
    return found


def tune(policy: str, grid: Mapping[str, Sequence[float]], where: Sequence[Case]) -> tuple[dict[str, float], Score]:
    """Return the settings of the highest mean goodput-accuracy, and that: setting by setting, until none changes."""
    scores: dict[tuple[float, ...], Score] = {}

    def score(values: tuple[float, ...]) -> Score:
        if values not in scores:
            settings: dict[str, Any] = dict(zip(grid, values, strict=True))
            scores[values] = statistics.mean(
                play(policy, trace, ladder, settings).goodput_accuracy for trace, ladder in where
            )
            print(policy, settings, f"{100 * scores[values]:.3f}", flush=True)
        return scores[values]

    best = tuple(START.get((policy, name), values[len(values) // 2]) for name, values in grid.items())
    while True:
        before = best
        for place, values in enumerate(grid.values()):
            tries = [(*best[:place], value, *best[place + 1 :]) for value in values]
            best = max(tries, key=lambda one: (score(one), one == before))  # of equals the one that was best before
        if best == before:
            return dict(zip(grid, best, strict=True)), scores[best]


def unbracketed(policy: str, settings: Mapping[str, float]) -> list[str]:
    """Return the settings of a policy that are the first or the last of their grid without a reason."""
    return [
        name
        for name, values in GRIDS[policy].items()
        if values != BOTH and settings[name] in (values[0], values[-1]) and (policy, name) not in LIMITS
    ]
