"""Which subnets a training step runs."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gearshift.runtime.space import Subnet


def sandwich(subnets: Sequence[Subnet], *, count: int, seed: int, step: int) -> list[Subnet]:
    """The largest, the smallest, and `count` others at random (universally slimmable networks, section 3.1).

    `subnets` is ordered largest first. The draw depends on seed and step alone, so a resumed run draws
    what the uninterrupted one would have drawn.
    """
    ends = [subnets[0], subnets[-1]] if len(subnets) > 1 else [subnets[0]]
    between = list(subnets[1:-1])
    drawn = random.Random(f"{seed}/{step}").sample(between, min(count, len(between)))
    return [ends[0], *drawn, *ends[1:]]
