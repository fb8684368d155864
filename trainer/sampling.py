"""Which subnets a training step runs."""

from __future__ import annotations

import random
from dataclasses import dataclass

from gearshift.runtime.errors import InputError
from gearshift.runtime.space import Subnet

SCHEMES = ("sandwich", "all", "random")


@dataclass(frozen=True)
class Sampler:
    """Draws the subnets of each step; a draw depends on seed and step alone, so a resumed run draws the same."""

    subnets: tuple[Subnet, ...]
    """Those to be trained, largest first."""
    scheme: str = "sandwich"
    """`sandwich`: the largest, the smallest, and `count` others at random (universally slimmable networks, section
    3.1); `all` of them, as in DynaBERT; `random`: `count` of them (HAT, Once-for-All)."""
    count: int = 1
    mixed: bool = False
    """Whether every layer of a random subnet has a width of its own, instead of one for all layers."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise InputError(f"sampling: expected one of {', '.join(SCHEMES)}, got {self.scheme!r}")
        if self.count < (self.scheme == "random"):
            raise InputError("sampling: random draws no subnet at all; set random_subnets to 1 or more")

    def draw(self, step: int) -> list[Subnet]:
        """The subnets of a step, each once."""
        source = random.Random(f"{self.seed}/{step}")
        if self.scheme == "all":
            drawn = list(self.subnets)
            return [*dict.fromkeys([*drawn, *(self._mixed(one, source) for one in drawn)])] if self.mixed else drawn
        ends = [self.subnets[0], self.subnets[-1]] if self.scheme == "sandwich" else []
        between = self.subnets[1:-1] if ends else self.subnets
        drawn = source.sample(between, min(self.count, len(between)))
        if self.mixed:
            mixed = dict.fromkeys(self._mixed(one, source) for one in drawn)
            drawn = [one for one in mixed if one not in ends]
        return [*ends[:1], *drawn, *(ends[1:] if len(self.subnets) > 1 else [])]

    def _mixed(self, subnet: Subnet, source: random.Random) -> Subnet:
        """The same layers, each with a width drawn from those of all subnets."""
        sizes = sorted({size for one in self.subnets for size in one.layers if size != (0, 0)})
        return Subnet(tuple(source.choice(sizes) if size != (0, 0) else size for size in subnet.layers))


def same_width(subnet: Subnet) -> Subnet:
    """A subnet with all layers, as wide as this one: a skipped layer is as wide as the kept one before it."""
    size = next(size for size in subnet.layers if size != (0, 0))
    sizes = [size := own if own != (0, 0) else size for own in subnet.layers]
    return Subnet(tuple(sizes))
