"""Design of the measurement: choices to time, so that the cost of every option of every stage can be fitted."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gearshift.runtime.space.space import Choice, Space


@dataclass(frozen=True)
class Switches:
    """Options of a graph's stages: the cost of a choice depends on nothing else."""

    stages: tuple[tuple[Hashable | None, ...], ...]
    """Stage -> option -> key of its computation; None: it computes nothing.

    Options with the same key in different stages cost about the same.
    """

    @classmethod
    def of(cls, space: Space[Any, Any]) -> Switches:
        """Return the switches of a space's graph."""
        return cls(
            tuple(tuple(None if option.skips else option.layers for option in stage.options) for stage in space.stages)
        )

    def skips_all(self, choice: Choice) -> bool:
        """Return whether a choice skips all layers."""
        return all(stage[option] is None for stage, option in zip(self.stages, choice, strict=True))


def designed_choices(space: Switches, pool: Sequence[Choice], seed: int = 0) -> Iterator[Choice]:
    """Yield choices without end: in turns one of the pool, and one of a random design.

    The design comes in blocks in which every option of a stage is equally frequent (Latin hypercube; McKay, Beckman and
    Conover 1979), so that after a few blocks no option is rare. The pool is included because it ships, and because
    random mixes do not reach its smallest and largest subnets.
    """
    mixed, shuffled = _mixed(space, random.Random(seed)), _endless(pool, random.Random(seed + 1))
    while True:
        yield next(shuffled)
        if len(space.stages) > 1:
            yield next(mixed)


def random_choices(space: Switches, count: int, seed: int, without: Sequence[Choice] = ()) -> list[Choice]:
    """Return `count` different choices at random, none of `without`; fewer if there are no more."""
    draw = random.Random(seed)
    left, found = 100 * count, dict.fromkeys(without)
    taken = len(found)
    while len(found) < taken + count and left:
        choice = tuple(draw.randrange(len(stage)) for stage in space.stages)
        if not space.skips_all(choice):
            found.setdefault(choice)
        left -= 1
    return list(found)[taken:]


def _mixed(space: Switches, draw: random.Random) -> Iterator[Choice]:
    size = max(len(stage) for stage in space.stages)
    while True:
        columns = []
        for stage in space.stages:
            options = list(range(len(stage)))
            column = [option for _ in range(-(-size // len(options))) for option in options]
            draw.shuffle(column)
            columns.append(column[:size])
        for choice in zip(*columns, strict=True):
            if not space.skips_all(choice):
                yield choice


def _endless(pool: Sequence[Choice], draw: random.Random) -> Iterator[Choice]:
    order = list(pool)
    while True:
        draw.shuffle(order)
        yield from order
