"""Which subnets ship."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from gearshift.runtime.block_latency import BlockLatency
from gearshift.runtime.space import EncoderShape, Subnet, uniform_grid
from gearshift.runtime.tables import BlockTables
from gearshift.trainer.pool import TOKENS, candidates, choose_pool, few_cuts, kinds_of_device
from tests.runtime.test_tables import SHAPE, tables_of

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


def test_a_device_that_was_measured_decides_what_is_likely() -> None:
    """Where a layer costs the same whatever its size, narrow layers are not among the best."""
    flat = BlockLatency(SHAPE, "fp32", "measured", 1, (TOKENS,), (1.0,), ((1.0, 0.0, 1e-6),), {})
    tables = tables_of(EncoderShape(**SHAPE.to_dict()))
    narrow = {True: 0, False: 0}
    for measured in (True, False):
        found = candidates(tables, 12, {"flat": flat} if measured else None)
        narrow[measured] = sum(heads == 1 for subnet in found for heads, _ in subnet.layers)
    assert narrow[True] < narrow[False]


def tables_with(increases: list[float]) -> BlockTables:
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
