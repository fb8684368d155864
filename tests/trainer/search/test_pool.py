"""Tests of which subnets ship."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Option, Space, Stage
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.runtime.tables.layer_latency import LayerLatency
from gearshift.runtime.tables.limits import Limits
from gearshift.runtime.tables.tables import Tables, make_tables
from gearshift.trainer.search.pool import CUT_TOLERANCE, TOKENS, candidates, choose_pool, few_cuts, kinds_of_device
from tests.runtime.tables.test_tables import SHAPE, tables_of

GRID = list(uniform_grid(SHAPE).values())


def random_losses(seed: int, count: int = 60) -> dict[Subnet, float]:
    """Random subnets, and the uniform ones: each loses the less the larger it is, more or less."""
    source = random.Random(seed)
    subnets = list(GRID)
    while len(subnets) < count:
        layers = tuple(source.choice([(4, 64), (3, 48), (2, 32), (1, 16), (4, 16), (0, 0)]) for _ in range(4))
        if any(heads for heads, _ in layers):
            subnets.append(Subnet(layers))
    return {subnet: source.uniform(0.5, 1.5) / subnet.parameters(SHAPE) for subnet in dict.fromkeys(subnets)}


@pytest.mark.parametrize("seed", range(10))
def test_whatever_a_uniform_subnet_can_do_some_member_of_the_pool_can(seed: int) -> None:
    losses = random_losses(seed)
    pool = choose_pool(SHAPE, losses, 20, rivals=GRID)
    assert len(pool) == 20
    devices = kinds_of_device(SHAPE).values()
    for rival in GRID:
        assert any(
            losses[one] <= losses[rival] and all(d.predict(one, TOKENS) <= d.predict(rival, TOKENS) for d in devices)
            for one in pool
        ), rival


def test_a_uniform_subnet_has_its_own_place_where_nothing_stands_in_for_it() -> None:
    losses = random_losses(0)
    best = min(losses.values()) / 2
    chosen = {**losses, GRID[-1]: best}
    assert GRID[-1] in choose_pool(SHAPE, chosen, 5, rivals=[GRID[-1]])
    assert GRID[-1] not in choose_pool(SHAPE, {**losses, GRID[-1]: 9.0}, 5, rivals=[GRID[0]])


@pytest.mark.parametrize("size", [1, 2, 5, 20])
@pytest.mark.parametrize("rivals", [GRID, GRID[1:], []], ids=["all", "all others", "none"])
def test_the_full_subnet_is_in_the_pool_though_a_smaller_one_loses_no_more(size: int, rivals: list[Subnet]) -> None:
    """Rounding puts a smaller one before it, on one CPU and not on another; what all are compared with must not go."""
    full = GRID[0]
    for smaller in (GRID[1], GRID[-1]):
        losses = {**random_losses(0), smaller: 0.0, full: 1e-9}
        pool = choose_pool(SHAPE, losses, size, rivals=rivals)
        assert pool[0] == full and len(set(pool)) == len(pool) == size
        assert size < 20 or smaller in pool


@pytest.mark.parametrize("size", [1, 2, 4, 6])
def test_a_pool_too_small_for_all_uniform_subnets_has_some_of_every_size(size: int) -> None:
    losses = {one: 1 / one.parameters(SHAPE) for one in GRID}
    sizes = sorted(GRID, key=lambda one: -one.parameters(SHAPE))
    pool = choose_pool(SHAPE, losses, size, rivals=GRID)
    assert len(pool) == size
    assert pool[0] == sizes[0]
    assert size == 1 or pool[-1] == sizes[-1]
    gaps = [sizes.index(after) - sizes.index(before) for before, after in itertools.pairwise(pool)]
    assert max(gaps, default=0) <= -(-(len(GRID) - 1) // max(1, size - 1))


def test_a_device_that_was_measured_decides_what_is_likely() -> None:
    """Check that narrow layers are not among the best where a layer costs the same whatever its size."""
    flat = LayerLatency(SHAPE, "fp32", "measured", 1, (TOKENS,), (1.0,), ((1.0, 0.0, 1e-6),), {})
    tables = tables_of(EncoderShape(**SHAPE.to_dict()))
    narrow = {True: 0, False: 0}
    for measured in (True, False):
        found = candidates(tables, 12, {"flat": flat} if measured else None)
        narrow[measured] = sum(heads == 1 for subnet in found for heads, _ in subnet.layers)
    assert narrow[True] < narrow[False]


def tables_with(increases: list[float]) -> Tables:
    """Tables in which every layer loses so much with each of its options, the full one first."""
    tables = tables_of(SHAPE)
    rows = tuple(
        tuple(replace(row, loss=loss) for row, loss in zip(of_stage, increases, strict=True))
        for of_stage in tables.rows
    )
    return replace(tables, rows=rows)


def test_a_cut_that_only_middle_sizes_need_stays_however_much_the_smallest_lose() -> None:
    needed = few_cuts(tables_with([0.0, 0.001, 0.1, 5.0]))
    needless = few_cuts(tables_with([0.0, 0.0999, 0.1, 5.0]))
    assert all(len(rows) == 4 for rows in needed.rows)
    assert all(len(rows) == 3 for rows in needless.rows)


def six_layers(increases: list[float]) -> Tables:
    """Tables of six equal layers of 12 heads, which lose so much at 12, 9, 6, 3 and 0 of them."""
    shape = EncoderShape(layers=6, hidden=384, heads=12, neurons=1536, vocabulary=100, positions=64, types=2)
    options = tuple(Option(((heads, heads * 128),)) for heads in (12, 9, 6, 3, 0))
    space = Space(shape, tuple(Stage(layer, options) for layer in range(6)))
    return make_tables(
        space, [increases] * 6, full_loss=0.0, supernet="ab" * 32, macs_tokens=16, loss_rows=9, date="2026-01-31"
    )


@pytest.mark.parametrize("increases", [[0, 0.03, 0.08, 0.295, 0.3], [0, 0.01, 0.05, 0.1, 0.3]])
def test_cuts_are_left_out_by_what_the_best_subnets_of_the_same_sizes_lose(increases: list[float]) -> None:
    """Once no layer can be as narrow as before, the least size of the tables grows; the sizes to judge at do not."""
    tables = six_layers(increases)
    fewer, shape = few_cuts(tables), tables.space.shape
    device = kinds_of_device(shape)["even"]
    largest = device.predict(Subnet(((12, 1536),) * 6), TOKENS)
    smallest = device.predict(Subnet(((3, 384), (0, 0)) * 3), TOKENS)
    limits = [
        Limits(latency_ms=smallest * (largest / smallest) ** (step / 15) + 1e-6, length=TOKENS) for step in range(16)
    ]
    before, after = ([one.best(limit, device)[0].loss for limit in limits] for one in (tables, fewer))
    middle = sorted(before)[8] / 10
    assert sum((b - a) / max(a, middle) for a, b in zip(before, after, strict=True)) / 16 <= CUT_TOLERANCE + 1e-3


def test_a_size_that_no_subnet_has_any_more_keeps_its_cut() -> None:
    """Layers that cannot be skipped, equal but for the narrowest option: without it the smallest sizes are gone."""
    tables = six_layers([0, 1e-9, 2e-9, 3e-9, 0.3])
    kept = tuple(Stage(stage.first, stage.options[:-1]) for stage in tables.space.stages)
    whole = replace(tables, space=Space(tables.space.shape, kept), rows=tuple(rows[:-1] for rows in tables.rows))
    assert all(stage.options[-1].layers == ((3, 384),) for stage in few_cuts(whole).space.stages)
