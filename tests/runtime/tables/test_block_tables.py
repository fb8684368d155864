"""Block tables of blocks: the look-up against brute force, the file, and what is refused."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.errors import InputError, ProfileError, SchemaError
from gearshift.runtime.space.blocks import OPERATIONS, Block, BlockShape
from gearshift.runtime.space.space import BlockSpace, block_stage
from gearshift.runtime.tables.knapsack import ROUNDING
from gearshift.runtime.tables.limits import Limits
from gearshift.runtime.tables.tables import Estimate, Row, Tables, make_tables
from gearshift.runtime.tables.tables_file import SCHEMA, load_tables, plain_tables, read_tables, save_tables
from tests.runtime.tables.test_operation_latency import true_latency
from tests.runtime.tables.test_tables import allowed, latency_of

SHAPE = BlockShape(vocabulary=50, positions=128, types=2, embedding=48, head_size=8, bridge=48)
LATENCY = true_latency()


def tables_of(seed: int = 0, stages: int = 3, blocks: int = 7) -> Tables[Block, BlockShape]:
    source = np.random.default_rng(seed)
    rows: list[dict[Block, float]] = []
    for _ in range(stages):
        found: dict[Block, float] = {}
        while len(found) < blocks:
            names = tuple(source.choice(OPERATIONS, source.integers(1, 4)).tolist())
            found[Block(int(source.choice([16, 32])), names)] = float(source.random())
        rows.append(found)
    space = BlockSpace(SHAPE, tuple(block_stage(number, found) for number, found in enumerate(rows)))
    losses = [list(found.values()) for found in rows]
    return make_tables(space, losses, supernet="ab" * 32, macs_tokens=64, loss_rows=100, date="2026-01-31")


def within(one: Estimate[Block], limits: Limits) -> bool:
    names = ("latency_ms", "parameters", "bytes", "macs")
    asked = [name for name in names if getattr(limits, name) is not None]
    return all(getattr(one, name) <= getattr(limits, name) * (1 + ROUNDING) for name in asked)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("embedding", "first_only"), [(48, False), (16, False), (None, False), (16, True)])
@pytest.mark.parametrize(
    "asked", [(), ("parameters",), ("latency_ms",), ("macs", "bytes"), ("latency_ms", "parameters", "bytes", "macs")]
)
def test_the_best_nets_are_those_of_brute_force(
    seed: int, embedding: int | None, first_only: bool, asked: tuple[str, ...]
) -> None:
    tables = tables_of(seed)
    net: dict[str, Any] = {"shape": SHAPE.alone(embedding), "first_only": first_only}
    every = [
        tables.estimate(choice, Limits(precision="int8", length=40), LATENCY, **net)
        for choice in itertools.product(range(7), repeat=3)
    ]
    middle = {name: float(np.quantile([getattr(one, name) for one in every], 0.45)) for name in asked}
    limits = Limits(**middle, length=40, precision="int8")
    expected = sorted(one.loss for one in every if within(one, limits))
    assert expected
    found = tables.best(limits, LATENCY, count=9, **net)
    assert [one.loss for one in found] == pytest.approx(expected[:9])
    assert all(within(one, limits) for one in found) and len({one.subnet for one in found}) == len(found)
    assert tables.best(limits, LATENCY, **net)[0].loss == pytest.approx(expected[0])


def test_the_sums_of_a_net_are_its_own() -> None:
    tables = tables_of()
    shape = tables.space.shape.alone(16)
    assert shape.bridge == 0 and shape.embedding == 16
    one = tables.estimate((0, 1, 2), Limits(precision="int8"), LATENCY, shape=shape)
    assert one.parameters == one.subnet.parameters(shape) and one.macs == one.subnet.macs(shape, 64)
    assert one.bytes == one.subnet.bytes(shape, "int8")
    assert one.latency_ms == pytest.approx(LATENCY.predict(one.subnet, 128, shape=shape))


def test_what_nothing_meets_is_refused_with_the_nearest_that_can_be_met() -> None:
    tables = tables_of()
    alone = tables.space.shape.alone(16)
    smallest = min(tables.estimate(choice, shape=alone).parameters for choice in itertools.product(range(7), repeat=3))
    with pytest.raises(InputError, match=f"the nearest takes {smallest:,} parameters: allow that much"):
        tables.best(Limits(parameters=smallest - 1), shape=alone)
    assert tables.best(Limits(parameters=smallest), shape=alone)[0].parameters == smallest
    with pytest.raises(InputError, match="expected a latency predictor with it, got none"):
        tables.best(Limits(latency_ms=1))
    with pytest.raises(ProfileError, match="expected head_size 4, not 8"):
        tables.with_embeddings(replace(SHAPE, head_size=4)).best(Limits(latency_ms=9), LATENCY)
    with pytest.raises(ProfileError, match="expected kind mixed, not elastic;"):
        tables.best(Limits(latency_ms=9), latency_of())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="whole number of at least 1"):
        tables.best(Limits(), count=0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("too_little", [{"bytes": 9}, {"parameters": 9, "macs": 9}, {"latency_ms": 1e-3, "bytes": 9}])
def test_what_is_told_to_be_enough_is_enough(seed: int, too_little: dict[str, float]) -> None:
    tables = tables_of(seed).with_embeddings(replace(SHAPE, vocabulary=1_234_567 + seed))
    latency = replace(LATENCY, fixed_ms=(0.2 + seed / 7, 0.5 + seed / 7))
    with pytest.raises(InputError) as refused:
        tables.best(Limits(**too_little), latency)  # type: ignore[arg-type]
    assert tables.best(allowed(str(refused.value)), latency)


def test_a_latency_that_a_net_takes_exactly_is_enough_for_it() -> None:
    """Sums of floats in another order differ by a hair."""
    for seed in range(10):
        tables = tables_of(seed)
        every = [tables.estimate(choice, latency=LATENCY) for choice in itertools.product(range(7), repeat=3)]
        least = min(one.latency_ms or 0.0 for one in every)
        assert tables.best(Limits(latency_ms=least), LATENCY)[0].latency_ms == pytest.approx(least)


def test_the_file_gives_the_same_tables_and_says_what_blocks_cost(tmp_path: Path) -> None:
    tables, path = tables_of(), tmp_path / "tables.json"
    save_tables(path, tables)
    assert load_tables(path, supernet="ab" * 32) == tables
    row = json.loads(path.read_text())["rows"][0][0]
    assert row.keys() == {"hidden", "operations", "loss", "parameters", "macs"} and row["macs"] > 64 * 16
    with pytest.raises(SchemaError, match="another supernet"):
        load_tables(path, supernet="cd" * 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "expected schema version 1, found 2; install a newer gearshift"),
        ({"kind": "strange"}, "expected tables of kind elastic or mixed, found 'strange'"),
        ({"kind": "elastic"}, "not of schema version 1"),
        ({"rows": []}, "expected at least one block in each stage"),
        ({"strange": 1}, "not of schema version 1"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "tables.json"
    path.write_text(json.dumps({**plain_tables(tables_of()), **change}))
    with pytest.raises(SchemaError, match=message):
        load_tables(path)


def test_a_loss_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="expected a row with a finite loss"):
        Row(float("nan"), 1, 1, {})
    tables = tables_of()
    less = replace(tables, rows=((replace(tables.rows[0][0], loss=-0.1), *tables.rows[0][1:]), *tables.rows[1:]))
    with pytest.raises(SchemaError, match="expected losses of 0 or more"):
        SCHEMA.read_object(plain_tables(less), read_tables, "tables.json")


def test_a_file_that_is_missing_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="search`"):
        load_tables(tmp_path / "none.json")
    (tmp_path / "odd.json").write_text("[1")
    with pytest.raises(SchemaError, match="expected JSON"):
        load_tables(tmp_path / "odd.json")
