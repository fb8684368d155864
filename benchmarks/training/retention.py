"""Accuracy kept by subnets, as a share of the better of teacher and full size, over data sets.

The better of the two, since a teacher that was trained too little is no measure: its supernet's full size goes on
learning. A set whose teacher does not clearly beat the commonest label says nothing, and stands apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.training.accuracy_tasks import SUBJECTS

FULL = "w100-d100"
TEACHER = ""
"""Name that stands for the teacher."""

Group = Sequence[Mapping[str, Any]]
"""Figures of one data set, a file for each seed."""


@dataclass(frozen=True)
class Kept:
    """Shares that a subnet keeps."""

    mean_of_shares: float
    share_of_means: float


def main_metric(one: Mapping[str, Any]) -> str:
    return str(next(iter(one["teacher"]["metrics"])))


def values(group: Group, name: str, field: str = "metrics") -> list[float]:
    """Return the main metric of the teacher, or of a subnet, for each seed; `field`: `metrics` for test rows."""
    metric = main_metric(group[0])
    nets = [one["teacher"][field] if name == TEACHER else one["supernet"][field][name] for one in group]
    return [float(net[metric]) for net in nets]


def mean(group: Group, name: str, field: str = "metrics") -> float:
    return float(np.mean(values(group, name, field)))


def reference(group: Group, field: str = "metrics") -> float:
    """Return the metric of the better of teacher and full size, as means over the seeds."""
    return max(mean(group, TEACHER, field), mean(group, FULL, field))


def at_chance(group: Group) -> bool:
    """Return whether the teacher is within two standard errors of answering the commonest label throughout."""
    if main_metric(group[0]) != "accuracy":
        return False
    first = group[0]
    majority = first["majority"]["test"] if "majority" in first else SUBJECTS[first["subject"]].majority
    error = math.sqrt(majority * (1 - majority) / first["rows"]["test"])
    return mean(group, TEACHER) <= majority + 2 * error


def kept(rows: Mapping[str, Group], name: str, field: str = "metrics") -> Kept:
    """Return the shares that a subnet keeps over these data sets."""
    own = [mean(group, name, field) for group in rows.values()]
    full = [reference(group, field) for group in rows.values()]
    return Kept(float(np.mean(np.divide(own, full))), sum(own) / sum(full))
