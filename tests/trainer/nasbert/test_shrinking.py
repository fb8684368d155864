"""Buckets, what is deleted of them, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from gearshift.errors import InputError
from gearshift.runtime.space.blocks import Block
from gearshift.runtime.space.shape import EncoderShape
from gearshift.trainer.nasbert.blocks import all_blocks, block_sizes, bridged_shape
from gearshift.trainer.nasbert.settings import SearchSettings
from gearshift.trainer.nasbert.shrinking import (
    NOWHERE,
    Floats,
    Numbers,
    Population,
    deletions,
    fixed_buckets,
    quantile_buckets,
    rounds_needed,
)

BERT_BASE = EncoderShape(layers=12, hidden=768, heads=12, neurons=3072, vocabulary=30522, positions=512, types=2)
MINILM = EncoderShape(layers=6, hidden=384, heads=12, neurons=1536, vocabulary=30522, positions=512, types=2)


def parameters(blocks: Sequence[Block], shape: EncoderShape) -> Floats:
    bridged = bridged_shape(shape)
    cells = {(block.hidden, name) for block in blocks for name in block.operations}
    cost = {cell: bridged.operation_part(*cell).parameters for cell in cells}
    return np.array([sum(cost[block.hidden, name] for name in block.operations) for block in blocks], float)


def test_the_sizes_are_the_papers_shares_of_the_teacher() -> None:
    assert block_sizes(BERT_BASE) == (128, 192, 256, 384, 512)
    assert block_sizes(MINILM) == (64, 96, 128, 192, 256)


def test_a_teacher_of_another_form_is_refused() -> None:
    with pytest.raises(InputError, match="expected an encoder of BERT's form, got one with activation, relative_bucke"):
        bridged_shape(replace(MINILM, activation="silu", relative_buckets=32))


def test_there_are_as_many_blocks_as_the_paper_counts() -> None:
    blocks = all_blocks(block_sizes(BERT_BASE), 6)
    assert len(set(blocks)) == len(blocks) == 97_650
    assert len(all_blocks(block_sizes(MINILM), 4)) == 5 * (5 + 25 + 125 + 625)


def test_buckets_of_one_width_are_as_uneven_as_the_paper_leaves_them() -> None:
    """Check buckets by parameters alone, of the paper's own space: the first holds nearly half, the last a handful."""
    buckets = fixed_buckets([parameters(all_blocks(block_sizes(BERT_BASE), 6), BERT_BASE)], 10)
    counts = np.bincount(buckets, minlength=10)
    assert counts.sum() == 97_650 and counts[0] > 40_000 and counts[-1] < 50
    assert rounds_needed(buckets, SearchSettings(bucketing="fixed", max_rounds=1000)) > 40


def test_quantile_buckets_are_even_and_ordered() -> None:
    blocks = all_blocks(block_sizes(MINILM), 4)
    costs = parameters(blocks, MINILM)
    buckets = quantile_buckets([costs], 10)
    assert np.bincount(buckets).tolist() == [390] * 10
    for bucket in range(9):
        assert costs[buckets == bucket].max() <= costs[buckets == bucket + 1].min()
    assert rounds_needed(buckets, SearchSettings()) == 6  # 390, 195, 97, 48, 24, 12, 10


def test_a_block_that_costs_differ_about_is_in_no_fixed_bucket_and_between_quantiles() -> None:
    cheap_but_slow = [np.array([1.0, 10, 5, 10, 1]), np.array([10.0, 10, 5, 1, 1])]
    assert fixed_buckets(cheap_but_slow, 2).tolist() == [NOWHERE, 1, 0, NOWHERE, 0]
    assert quantile_buckets(cheap_but_slow, 5).tolist() == [1, 4, 2, 3, 0]  # ties stay in order


@pytest.mark.parametrize(("alive", "expected"), [(10_000, 1000), (390, 195), (12, 2), (11, 1), (10, 0), (3, 0)])
def test_half_of_the_sample_goes_until_so_many_are_left(alive: int, expected: int) -> None:
    assert deletions(alive, SearchSettings()) == expected


BLOCKS = all_blocks((16, 32), 3)
SHARED = {"conv3": 3.0, "conv5": 1.0, "conv7": 0.5, "ffn": 2.0, "attention": 0.1}


def score(blocks: Sequence[Block]) -> Floats:
    """Every operation adds a loss of its own, and small blocks lose most."""
    return np.array([1000 / block.hidden + sum(SHARED[name] for name in block.operations) for block in blocks])


def shrunk(settings: SearchSettings, buckets: Numbers) -> Population:
    population = Population(BLOCKS, buckets)
    source = np.random.default_rng(0)
    for _ in range(rounds_needed(buckets, settings)):
        population.shrink(score, settings, source)
    return population


def test_the_best_of_each_bucket_are_left_however_bad_the_bucket() -> None:
    buckets = quantile_buckets([np.array([block.hidden for block in BLOCKS], float)], 2)
    settings = SearchSettings(kept=4, buckets=2)
    population = shrunk(settings, buckets)
    for bucket, members in enumerate(population.members()):
        mine = np.flatnonzero(buckets == bucket)
        best = mine[np.argsort(score([BLOCKS[number] for number in mine]), kind="stable")[:4]]
        assert set(members) == set(best)
    assert {BLOCKS[number].hidden for number in population.alive} == {16, 32}


def test_what_was_not_sampled_stays() -> None:
    buckets = np.zeros(len(BLOCKS), np.int64)
    population = Population(BLOCKS, buckets)
    population.shrink(score, SearchSettings(kept=1, sampled=20), np.random.default_rng(0))
    assert len(population.alive) == len(BLOCKS) - 10


def test_by_operations_those_fall_that_are_worse_than_others_at_their_place() -> None:
    buckets = quantile_buckets([np.array([block.hidden for block in BLOCKS], float)], 2)
    settings = SearchSettings(kept=10, buckets=2, shrink="operations")
    population = shrunk(settings, buckets)
    left = [BLOCKS[number] for number in population.alive]
    assert len(left) >= 20 and {block.hidden for block in left} == {16, 32}
    assert not any("conv3" in block.operations for block in left)
    assert all(set(block.operations) <= {"attention", "conv7", "conv5"} for block in left)


def test_a_draw_is_a_bucket_and_then_a_block_of_it() -> None:
    buckets = np.where(np.arange(len(BLOCKS)) < 3, 0, 1)
    population = Population(BLOCKS, buckets)
    source = np.random.default_rng(0)
    drawn = [BLOCKS.index(population.draw(source)) for _ in range(2000)]
    assert 0.45 < np.mean([number < 3 for number in drawn]) < 0.55
    assert len(set(drawn)) > 0.9 * len(BLOCKS)
