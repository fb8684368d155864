"""Buckets of blocks of like size: shrinking deletes within each, so that no size dies out (NAS-BERT, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from gearshift.runtime.space.blocks import Block
from gearshift.trainer.nasbert.settings import SearchSettings

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

NOWHERE = -1
"""Bucket of a block that is in none."""


def quantile_buckets(costs: list[Floats], count: int) -> Numbers:
    """The bucket of each block: as many blocks in each, by the mean of their ranks in all costs.

    `costs` are parameters, and where it is known latency: (blocks,) each. Equal blocks may fall into neighbours.
    """
    ranks = np.mean([rankdata(cost) for cost in costs], axis=0)
    order = np.argsort(ranks, kind="stable")
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(len(order)) * min(count, len(order)) // len(order)
    return found


def fixed_buckets(costs: list[Floats], count: int) -> Numbers:
    """The paper's: bucket b (from 0) holds what costs more than b / B of the largest and at most (b + 1) / B.

    A block that is in different buckets by different costs is in none.
    """
    places = [np.minimum(np.ceil(cost / cost.max() * count).astype(np.int64) - 1, count - 1) for cost in costs]
    same = np.all([place == places[0] for place in places], axis=0)
    return np.where(same, np.maximum(places[0], 0), NOWHERE)


Score = Callable[[Sequence[Block]], Floats]
"""The loss of each block."""
Cell = tuple[int, int, str]
"""Hidden size, place in the block, operation."""


class Population:
    """The blocks of a stage, in buckets, and which of them are alive."""

    def __init__(self, blocks: Sequence[Block], buckets: Numbers) -> None:
        self.blocks = tuple(blocks)
        self.buckets = buckets
        self.alive: Numbers = np.flatnonzero(buckets != NOWHERE)
        """Numbers of the blocks, ascending."""

    def members(self) -> list[Numbers]:
        """The living blocks of each bucket that has any."""
        return [self.alive[self.buckets[self.alive] == bucket] for bucket in np.unique(self.buckets[self.alive])]

    def draw(self, source: np.random.Generator) -> Block:
        """A living block: a bucket at random, and one of its blocks, so that each size is trained as often."""
        members = self.members()
        return self.blocks[int(source.choice(members[source.integers(len(members))]))]

    def shrink(self, score: Score, settings: SearchSettings, source: np.random.Generator) -> None:
        """One round of deletions."""
        if settings.shrink == "operations":
            self._shrink_operations(score, settings, source)
        else:
            self._shrink_blocks(score, settings, source)

    def _shrink_blocks(self, score: Score, settings: SearchSettings, source: np.random.Generator) -> None:
        samples = [_sample(members, settings.sampled, source) for members in self.members()]
        losses = score([self.blocks[number] for number in np.concatenate(samples)])
        gone: list[Numbers] = []
        for sample in samples:
            mine, losses = losses[: len(sample)], losses[len(sample) :]
            alive = int((self.buckets[self.alive] == self.buckets[sample[0]]).sum())
            count = deletions(alive, settings)
            gone.append(sample[np.argsort(mine, kind="stable")[len(sample) - count :]])
        self.alive = np.setdiff1d(self.alive, np.concatenate(gone))

    def _shrink_operations(self, score: Score, settings: SearchSettings, source: np.random.Generator) -> None:
        """Delete the worst operations as long as no fewer blocks are left than deleting blocks would leave."""
        sample = np.concatenate([_sample(members, settings.sampled, source) for members in self.members()])
        losses = score([self.blocks[number] for number in sample])
        excess = _excess([self.blocks[number] for number in sample], losses)
        left = len(self.alive) - sum(deletions(len(members), settings) for members in self.members())
        for cell in sorted(excess, key=lambda cell: (-excess[cell], cell)):
            kept = np.array([number for number in self.alive if cell not in _cells(self.blocks[number])], np.int64)
            if len(kept) >= left:
                self.alive = kept


def deletions(alive: int, settings: SearchSettings) -> int:
    """How many of a bucket's living blocks a round deletes."""
    return max(0, min(math.ceil(min(alive, settings.sampled) * settings.deleted), alive - settings.kept))


def rounds_needed(buckets: Numbers, settings: SearchSettings) -> int:
    """Deletions until every bucket has `kept` blocks or fewer, at most `max_rounds`."""
    alive, rounds = int(np.bincount(buckets[buckets != NOWHERE]).max()), 0
    while alive > settings.kept and rounds < settings.max_rounds:
        alive -= deletions(alive, settings)
        rounds += 1
    return rounds


def _sample(members: Numbers, count: int, source: np.random.Generator) -> Numbers:
    return members if len(members) <= count else np.sort(source.choice(members, count, replace=False))


def _cells(block: Block) -> list[Cell]:
    return [(block.hidden, place, name) for place, name in enumerate(block.operations)]


def _excess(blocks: Sequence[Block], losses: Floats) -> dict[Cell, float]:
    """How much worse blocks are with an operation than with another at the same place of the same hidden size."""
    of_cell: dict[Cell, list[float]] = {}
    of_place: dict[tuple[int, int], list[float]] = {}
    for block, loss in zip(blocks, losses, strict=True):
        for cell in _cells(block):
            of_cell.setdefault(cell, []).append(loss)
            of_place.setdefault(cell[:2], []).append(loss)
    return {cell: float(np.mean(found) - np.mean(of_place[cell[:2]])) for cell, found in of_cell.items()}
