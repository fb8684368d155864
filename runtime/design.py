"""Which subnets are run so that the cost of every option of every stage can be told from the sums."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from gearshift.runtime.space import Space

Choice = tuple[int, ...]


def designed_choices(space: Space, pool: Sequence[Choice], seed: int = 0) -> Iterator[Choice]:
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


def random_choices(space: Space, count: int, seed: int, without: Sequence[Choice] = ()) -> list[Choice]:
    """`count` different choices, all equally likely, none of `without`; fewer where there are no more."""
    draw = random.Random(seed)
    left, found = 100 * count, dict.fromkeys(without)
    taken = len(found)
    while len(found) < taken + count and left:
        choice = tuple(draw.randrange(len(stage.options)) for stage in space.stages)
        if not _skips_all(space, choice):
            found.setdefault(choice)
        left -= 1
    return list(found)[taken:]


def _mixed(space: Space, draw: random.Random) -> Iterator[Choice]:
    size = max(len(stage.options) for stage in space.stages)
    while True:
        columns = []
        for stage in space.stages:
            options = list(range(len(stage.options)))
            column = [option for _ in range(-(-size // len(options))) for option in options]
            draw.shuffle(column)
            columns.append(column[:size])
        for choice in zip(*columns, strict=True):
            if not _skips_all(space, choice):
                yield choice


def _endless(pool: Sequence[Choice], draw: random.Random) -> Iterator[Choice]:
    order = list(pool)
    while True:
        draw.shuffle(order)
        yield from order


def _skips_all(space: Space, choice: Choice) -> bool:
    return all(stage.options[option].skips for stage, option in zip(space.stages, choice, strict=True))
