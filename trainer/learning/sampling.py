"""Sampling of the subnets that a training step runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from gearshift.errors import InputError
from gearshift.runtime.space.space import Space
from gearshift.runtime.space.subnet import Subnet

SCHEMES = ("sandwich", "all", "random", "anchored")

SPACE_SCHEMES = ("sandwich", "random")
"""Schemes of a `SpaceSampler`."""

ANCHOR_EVERY = 4
"""Number of steps of the anchored scheme from one with the largest subnet to the next."""


def check_sampling(scheme: str, count: int) -> None:
    """Raise InputError for an unknown scheme, and for one that would draw nothing."""
    if scheme not in SCHEMES:
        raise InputError(f"sampling: expected one of {', '.join(SCHEMES)}, got {scheme!r}")
    if count < (scheme in ("random", "anchored")):
        raise InputError(f"sampling: {scheme} draws no subnet at all; set random_subnets to 1 or more")


@dataclass(frozen=True)
class Sampler:
    """Draws the subnets of each step; a draw depends on seed and step alone, so a resumed run draws the same."""

    subnets: tuple[Subnet, ...]
    """Subnets to be trained, largest first."""
    scheme: str = "sandwich"
    """Sampling scheme. `sandwich`: the largest, the smallest, and `count` others at random (universally slimmable
    networks, section 3.1). `all`: every subnet, as in DynaBERT. `random`: `count` of them (HAT, Once-for-All).
    `anchored`: `count` of all but the largest, and each ANCHOR_EVERY steps the largest in place of one of them: it
    starts as the teacher and takes the most time, and seldom is often enough for it to stay as it was."""
    count: int = 1
    mixed: bool = False
    """Whether every layer of a random subnet has a width of its own, instead of one for all layers."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_sampling(self.scheme, self.count)

    def draw(self, step: int) -> list[Subnet]:
        """Draw the subnets of a step, each once."""
        source = random.Random(f"{self.seed}/{step}")
        if self.scheme == "all":
            drawn = list(self.subnets)
            return [*dict.fromkeys([*drawn, *(self._mixed(one, source) for one in drawn)])] if self.mixed else drawn
        ends = [self.subnets[0], self.subnets[-1]] if self.scheme == "sandwich" else []
        between, count = self.subnets[1:-1] if ends else self.subnets, self.count
        if self.scheme == "anchored" and len(self.subnets) > 1:
            ends = [self.subnets[0]] if step % ANCHOR_EVERY == 0 else []
            between, count = self.subnets[1:], count - len(ends)
        drawn = source.sample(between, min(count, len(between)))
        if self.mixed:
            mixed = dict.fromkeys(self._mixed(one, source) for one in drawn)
            drawn = [one for one in mixed if one not in ends]
        return [*dict.fromkeys([*ends[:1], *drawn, *ends[1:]])]

    def _mixed(self, subnet: Subnet, source: random.Random) -> Subnet:
        """Return a subnet of the same layers, each with a width drawn from those of all subnets."""
        sizes = sorted({size for one in self.subnets for size in one.layers if size != (0, 0)})
        return Subnet(tuple(source.choice(sizes) if size != (0, 0) else size for size in subnet.layers))


@dataclass(frozen=True)
class SpaceSampler:
    """Draws subnets of a space, one option for every stage, so that no subnet need be listed."""

    space: Space
    scheme: str = "sandwich"
    """Sampling scheme: `sandwich` or `random`, as in `Sampler`."""
    count: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scheme not in SPACE_SCHEMES:
            raise InputError(f"sampling: of a space expected sandwich or random, got {self.scheme!r}")

    @property
    def ends(self) -> tuple[Subnet, Subnet]:
        """The largest subnet, and the smallest that skips no stage."""
        choices = []
        for stage in self.space.stages:
            sizes = {place: _size(option.layers) for place, option in enumerate(stage.options)}
            running = {place: size for place, size in sizes.items() if size} or sizes
            choices.append((max(sizes, key=sizes.__getitem__), min(running, key=running.__getitem__)))
        largest, smallest = zip(*choices, strict=True)
        return self.space.subnet(largest), self.space.subnet(smallest)

    def draw(self, step: int) -> list[Subnet]:
        """Draw the subnets of a step, each once."""
        source = random.Random(f"{self.seed}/{step}")
        ends = self.ends if self.scheme == "sandwich" else ()
        drawn = [self._one(source) for _ in range(self.count)]
        return [*dict.fromkeys([*ends[:1], *(one for one in drawn if one not in ends), *ends[1:]])]

    def _one(self, source: random.Random) -> Subnet:
        """Draw a subnet with at least one layer."""
        while True:
            options = [source.choice(stage.options) for stage in self.space.stages]
            if not all(option.skips for option in options):
                return Subnet(tuple(size for option in options for size in option.layers))


def _size(layers: Sequence[tuple[int, int]]) -> int:
    return sum(heads * neurons for heads, neurons in layers)


def same_width(subnet: Subnet) -> Subnet:
    """Return a subnet with all layers, as wide as this one: a skipped layer is as wide as the kept one before it."""
    size = next(size for size in subnet.layers if size != (0, 0))
    sizes = [size := own if own != (0, 0) else size for own in subnet.layers]
    return Subnet(tuple(sizes))
