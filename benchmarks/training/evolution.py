"""Evolutionary search over a space (OFA, section 3.4; HAT, section 3.2): a rival of the tables, and a check of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from gearshift.errors import InputError
from gearshift.runtime.space.space import Choice, Space

Fitness = Callable[[Choice], float]
"""Loss of a choice; lower is better."""
Fits = Callable[[Choice], bool]
"""Predicate that is true for a choice within the limits."""


@dataclass(frozen=True)
class Evolution:
    """Settings of the search; the numbers are those of Once-for-All."""

    population: int = 100
    generations: int = 500
    parents: float = 0.25
    """Share of the population that has children, and survives."""
    mutants: float = 0.5
    """Share of the population that are mutants of a parent; the others have two parents."""
    mutation: float = 0.1
    """Probability that a stage of a mutant is drawn anew."""
    evaluations: int = 0
    """Most losses that may be measured; 0: unlimited."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.population >= 2 and 0 < self.parents <= 1 and 0 <= self.mutants <= 1 - self.parents):
            raise InputError("evolution: expected a population of 2 or more, and shares that leave room for children")


def evolve(space: Space, fitness: Fitness, fits: Fits, how: Evolution) -> list[tuple[float, Choice]]:
    """Return every choice within the limits whose loss was measured, best first; [] if none is found within them."""
    source = random.Random(how.seed)
    known: dict[Choice, float] = {}

    def measure(choices: list[Choice]) -> None:
        for choice in choices:
            if choice not in known and (not how.evaluations or len(known) < how.evaluations):
                known[choice] = fitness(choice)

    def drawn() -> Choice:
        return tuple(source.randrange(len(stage.options)) for stage in space.stages)

    def mutant(choice: Choice) -> Choice:
        fresh = drawn()
        return tuple(b if source.random() < how.mutation else a for a, b in zip(choice, fresh, strict=True))

    def child(one: Choice, other: Choice) -> Choice:
        return tuple(source.choice(pair) for pair in zip(one, other, strict=True))

    population = _fitting(drawn, fits, how.population)
    measure(population)
    keep = max(1, round(how.parents * how.population))
    for _ in range(how.generations):
        best = [choice for _, choice in _ranked(population, known)[:keep]]
        if not best or (how.evaluations and len(known) >= how.evaluations):
            break
        changed = _fitting(lambda: mutant(source.choice(best)), fits, round(how.mutants * how.population))  # noqa: B023
        crossed = how.population - keep - len(changed)
        changed += _fitting(lambda: child(source.choice(best), source.choice(best)), fits, crossed)  # noqa: B023
        measure(changed)
        population = list(dict.fromkeys([*best, *changed]))
    return _ranked(list(known), known)


ATTEMPTS = 100
"""Number of draws for each wanted choice before fewer choices are accepted."""


def _fitting(draw: Callable[[], Choice], fits: Fits, count: int) -> list[Choice]:
    found: list[Choice] = []
    for _ in range(ATTEMPTS * count):
        if len(found) == count:
            break
        choice = draw()
        if fits(choice):
            found.append(choice)
    return found


def _ranked(choices: list[Choice], known: dict[Choice, float]) -> list[tuple[float, Choice]]:
    return sorted((known[choice], choice) for choice in choices if choice in known)
