"""Which subnets are run so that the cost of every option of every stage can be told from the sums."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gearshift.runtime.space.space import Choice, Space


@dataclass(frozen=True)
class Switches:
    """Options of a graph's stages: all that the cost of a choice depends on."""

    stages: tuple[tuple[Hashable | None, ...], ...]
    """Stage -> option -> what it computes; equal options of different stages cost about the same. None: nothing."""

    @classmethod
    def of(cls, space: Space[Any, Any]) -> Switches:
        """Switches of a space's graph."""
        return cls(
            tuple(tuple(None if option.skips else option.layers for option in stage.options) for stage in space.stages)
        )

    def skips_all(self, choice: Choice) -> bool:
        """Whether nothing is left of the net."""
        return all(stage[option] is None for stage, option in zip(self.stages, choice, strict=True))


def designed_choices(space: Switches, pool: Sequence[Choice], seed: int = 0) -> Iterator[Choice]:
    """Endless choices: in turns one of the pool, and one of a design in which options meet at random.

    The design comes in blocks in which every option of a stage is equally frequent (a Latin hypercube; McKay, Beckman
    and Conover 1979), so that after few of them no option is seldom seen. The pool is what ships, and its ends are
    not what random mixes reach.
    """
    mixed, shuffled = _mixed(space, random.Random(seed)), _endless(pool, random.Random(seed + 1))
    while True:
        yield next(shuffled)
        if len(space.stages) > 1:
            yield next(mixed)


def random_choices(space: Switches, count: int, seed: int, without: Sequence[Choice] = ()) -> list[Choice]:
    """`count` different choices, all equally likely, none of `without`; fewer where there are no more."""
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
