"""Progressive shrinking: deletion of the worst blocks within buckets of similar size (NAS-BERT, section 3.3).

Each bucket keeps some blocks, so that blocks of every size remain.
"""

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
"""Bucket number of a block without a bucket."""


def quantile_buckets(costs: list[Floats], count: int) -> Numbers:
    """Return the bucket of each block; buckets hold equal numbers of blocks, by their mean rank in all costs.

    `costs`: parameters and, if known, latencies; shape (blocks,) each. Equal blocks can be in neighbouring buckets.
    """
    ranks = np.mean([rankdata(cost) for cost in costs], axis=0)
    order = np.argsort(ranks, kind="stable")
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(len(order)) * min(count, len(order)) // len(order)
    return found


def fixed_buckets(costs: list[Floats], count: int) -> Numbers:
    """Return the bucket of each block as in the paper: bucket b of B has costs in (b / B, (b + 1) / B] of the largest.

    Buckets count from 0. A block whose costs fall into different buckets is in none.
    """
    places = [np.minimum(np.ceil(cost / cost.max() * count).astype(np.int64) - 1, count - 1) for cost in costs]
    same = np.all([place == places[0] for place in places], axis=0)
    return np.where(same, np.maximum(places[0], 0), NOWHERE)


Score = Callable[[Sequence[Block]], Floats]
"""Function from blocks to their losses, shape (blocks,)."""
Cell = tuple[int, int, str]
"""(hidden size, place in the block, operation)."""


class Population:
    """Population of a stage: its blocks in buckets, and the indices of those that are alive."""

    def __init__(self, blocks: Sequence[Block], buckets: Numbers) -> None:
        self.blocks = tuple(blocks)
        self.buckets = buckets
        self.alive: Numbers = np.flatnonzero(buckets != NOWHERE)
        """Indices of the living blocks, ascending."""

    def members(self) -> list[Numbers]:
        """Return the indices of the living blocks of each bucket that has any."""
        return [self.alive[self.buckets[self.alive] == bucket] for bucket in np.unique(self.buckets[self.alive])]

    def draw(self, source: np.random.Generator) -> Block:
        """Draw a random bucket, then one of its living blocks, so that all sizes are trained equally often."""
        members = self.members()
        return self.blocks[int(source.choice(members[source.integers(len(members))]))]

    def shrink(self, score: Score, settings: SearchSettings, source: np.random.Generator) -> None:
        """Run one round of deletions."""
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
        """Delete the worst operations while at least as many blocks remain as after deleting blocks."""
        sample = np.concatenate([_sample(members, settings.sampled, source) for members in self.members()])
        losses = score([self.blocks[number] for number in sample])
        excess = _excess([self.blocks[number] for number in sample], losses)
        left = len(self.alive) - sum(deletions(len(members), settings) for members in self.members())
        for cell in sorted(excess, key=lambda cell: (-excess[cell], cell)):
            kept = np.array([number for number in self.alive if cell not in _cells(self.blocks[number])], np.int64)
            if len(kept) >= left:
                self.alive = kept


def deletions(alive: int, settings: SearchSettings) -> int:
    """Return the number of blocks that a round deletes from a bucket of `alive` blocks."""
    return max(0, min(math.ceil(min(alive, settings.sampled) * settings.deleted), alive - settings.kept))


def rounds_needed(buckets: Numbers, settings: SearchSettings) -> int:
    """Return the number of rounds until every bucket has at most `kept` blocks; at most `max_rounds`."""
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
    """Return the excess loss of each operation: mean loss with it, less the mean at its place and hidden size."""
    of_cell: dict[Cell, list[float]] = {}
    of_place: dict[tuple[int, int], list[float]] = {}
    for block, loss in zip(blocks, losses, strict=True):
        for cell in _cells(block):
            of_cell.setdefault(cell, []).append(loss)
            of_place.setdefault(cell[:2], []).append(loss)
    return {cell: float(np.mean(found) - np.mean(of_place[cell[:2]])) for cell, found in of_cell.items()}
