"""Block tables: sums, the file, the best subnet under constraints, and what is refused."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gearshift.errors import InputError, ProfileError, SchemaError
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Option, Space, Stage
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.runtime.tables.layer_latency import LayerLatency
from gearshift.runtime.tables.limits import Limits
from gearshift.runtime.tables.tables import Tables, make_tables
from gearshift.runtime.tables.tables_file import load_tables, plain_tables, save_tables

SHAPE = EncoderShape(layers=4, hidden=32, heads=4, neurons=64, vocabulary=100, positions=32, types=2)
SIZES = ((4, 64), (2, 32), (1, 16), (0, 0))


def tables_of(shape: EncoderShape = SHAPE, *, seed: int = 0) -> Tables:
    options = tuple(Option((size,)) for size in SIZES)
    space = Space(shape, tuple(Stage(layer, options) for layer in range(shape.layers)))
    source = np.random.default_rng(seed)
    losses = [[0.0, *np.sort(source.random(len(SIZES) - 1)).tolist()] for _ in space.stages]
    return make_tables(space, losses, full_loss=0.5, supernet="ab" * 32, macs_tokens=16, loss_rows=9, date="2026-01-31")


def latency_of(shape: EncoderShape = SHAPE) -> LayerLatency:
    return LayerLatency(
        shape, "fp32", "CPUExecutionProvider", 1, (8, 32), (1.0, 2.0), ((0.1, 0.2, 0.01), (0.3, 0.8, 0.02)), {}
    )


def allowed(message: str) -> Limits:
    """The limits that a refusal tells to allow, read as a user does."""
    units = {"parameters": "parameters", "MACs": "macs", "bytes": "bytes", "ms": "latency_ms"}
    told = re.findall(r"([\d,.]+) (parameters|MACs|bytes|ms)", message.partition("the nearest takes ")[2])
    return Limits(**{units[unit]: float(number.replace(",", "")) for number, unit in told})  # type: ignore[arg-type]


@pytest.fixture
def tables() -> Tables:
    return tables_of()


def test_the_sums_of_a_subnet_are_its_own_parameters_and_macs(tables: Tables) -> None:
    for choice in itertools.product(range(len(SIZES)), repeat=SHAPE.layers):
        if all(option == 3 for option in choice):
            continue
        found = tables.estimate(choice)
        assert found.parameters == found.subnet.parameters(SHAPE)
        assert found.macs == found.subnet.macs(SHAPE, 16)
        assert found.bytes == 4 * found.parameters
        assert found.loss == pytest.approx(0.5 + sum(tables.rows[s][o].loss for s, o in enumerate(choice)))
        assert tables.loss(found.subnet) == found.loss


def test_int8_takes_a_bit_more_than_a_quarter(tables: Tables) -> None:
    full = (0,) * SHAPE.layers
    small, large = (tables.estimate(full, Limits(precision=precision)).bytes for precision in ("int8", "fp32"))
    assert large / 4 < small < large / 2


@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(parameters=20_000),
        Limits(macs=300_000),
        Limits(bytes=60_000, precision="int8"),
        Limits(latency_ms=6.0, length=20),
        Limits(latency_ms=7.0, parameters=25_000, bytes=90_000, macs=500_000, length=32),
        Limits(parameters=3_300 + 4_200 + 2_000),
    ],
)
def test_the_best_subnet_is_that_of_brute_force(tables: Tables, limits: Limits) -> None:
    latency = latency_of()
    fitting = []
    for choice in itertools.product(range(len(SIZES)), repeat=SHAPE.layers):
        if choice == (3,) * SHAPE.layers:
            continue
        one = tables.estimate(choice, limits, latency)
        if all(
            getattr(limits, name) is None or getattr(one, name) <= getattr(limits, name)
            for name in ("latency_ms", "parameters", "bytes", "macs")
        ):
            fitting.append(one)
    expected = sorted(one.loss for one in fitting)[:5]
    assert expected
    assert [one.loss for one in tables.best(limits, latency, count=5)] == pytest.approx(expected)
    assert tables.best(limits, latency)[0].loss == pytest.approx(expected[0])


def test_skipping_every_layer_is_never_the_best(tables: Tables) -> None:
    free = Tables(
        **{
            **vars(tables),
            "rows": tuple((*rows[:3], rows[0].__class__(**{**vars(rows[3]), "loss": -9})) for rows in tables.rows),
        }
    )
    found = free.best(Limits(), count=3)
    assert [len(one.subnet.kept()) for one in found] == [1, 1, 1]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("too_little", [{"bytes": 9}, {"parameters": 9, "macs": 9}, {"latency_ms": 1e-3, "bytes": 9}])
def test_what_is_told_to_be_enough_is_enough(seed: int, too_little: dict[str, float]) -> None:
    """A vocabulary of a million words: what the nearest takes has more digits than six."""
    tables = tables_of(replace(SHAPE, vocabulary=1_234_567 + seed), seed=seed)
    latency = replace(latency_of(tables.space.shape), fixed_ms=(1.0 + seed / 7, 2.0 + seed / 7))
    with pytest.raises(InputError) as refused:
        tables.best(Limits(**too_little), latency)  # type: ignore[arg-type]
    assert tables.best(allowed(str(refused.value)), latency)


def test_what_nothing_meets_is_refused_with_the_nearest_that_can_be_met(tables: Tables) -> None:
    smallest = tables.estimate((2, 3, 3, 3))
    with pytest.raises(InputError) as refused:
        tables.best(Limits(parameters=smallest.parameters - 1, macs=10**9))
    assert f"the nearest takes {smallest.parameters:,} parameters and {smallest.macs:,} MACs" in str(refused.value)
    assert tables.best(Limits(parameters=smallest.parameters))[0].parameters == smallest.parameters
    less_than_embeddings = Limits(parameters=tables.fixed.parameters / 2)
    with pytest.raises(InputError, match=f"the nearest takes {smallest.parameters:,} parameters: allow"):
        tables.best(less_than_embeddings)


@pytest.mark.parametrize(
    ("name", "value"), [("macs", 0), ("parameters", -1), ("bytes", float("nan")), ("latency_ms", True)]
)
def test_a_limit_that_is_no_positive_number_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_a_latency_needs_a_device_of_the_same_space(tables: Tables) -> None:
    with pytest.raises(InputError, match="expected a latency predictor with it, got none"):
        tables.best(Limits(latency_ms=5))
    other = EncoderShape(layers=4, hidden=64, heads=4, neurons=64, vocabulary=100, positions=32, types=2)
    with pytest.raises(ProfileError, match="another space"):
        tables.best(Limits(latency_ms=5), latency_of(other))


def test_the_file_gives_the_same_tables(tables: Tables, tmp_path: Path) -> None:
    save_tables(tmp_path / "tables.json", tables)
    assert load_tables(tmp_path / "tables.json", shape=SHAPE, supernet="ab" * 32) == tables


def test_tables_of_another_supernet_or_space_are_refused(tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "tables.json"
    save_tables(path, tables)
    with pytest.raises(SchemaError, match=r"tables\.json: the tables of another supernet.*search again"):
        load_tables(path, supernet="cd" * 32)
    with pytest.raises(SchemaError, match="another space: expected layers 5, not 4; search"):
        load_tables(path, shape=EncoderShape(5, 32, 4, 64, 100, 32, 2))
    with pytest.raises(SchemaError, match="expected heads 2, not 4, neurons 60, not 64; search again"):
        load_tables(path, shape=replace(SHAPE, heads=2, neurons=60))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema version 1, found 2; install a newer"),
        ({"rows": []}, "expected .* rows"),
        ({"fixed": {"loss": 1}}, "schema version 1"),
        ({"strange": 1}, "schema version 1"),
    ],
)
def test_a_file_of_another_form_is_refused(
    tables: Tables, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "tables.json"
    path.write_text(json.dumps({**plain_tables(tables), **change}))
    with pytest.raises(SchemaError, match=message):
        load_tables(path)


def test_a_file_that_is_missing_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="gearshift search"):
        load_tables(tmp_path / "none.json")
    (tmp_path / "odd.json").write_text("[1")
    with pytest.raises(SchemaError, match="expected JSON"):
        load_tables(tmp_path / "odd.json")


def test_every_uniform_subnet_of_the_widths_is_in_the_space(tables: Tables) -> None:
    for subnet in uniform_grid(SHAPE, (1.0, 0.5, 0.25)).values():
        assert isinstance(tables.loss(subnet), float)
    with pytest.raises(InputError, match="no option"):
        tables.loss(Subnet(((3, 48),) * 4))


def test_the_net_with_fewer_words_has_the_same_tables_but_for_its_embeddings(tables: Tables, tmp_path: Path) -> None:
    save_tables(tmp_path / "tables.json", tables)
    small = load_tables(tmp_path / "tables.json", shape=replace(SHAPE, vocabulary=60))
    assert small.rows == tables.rows
    full = (0,) * SHAPE.layers
    assert tables.estimate(full).parameters - small.estimate(full).parameters == 40 * SHAPE.hidden
    measured = latency_of(small.space.shape)  # of the bundle with fewer words
    limits = Limits(latency_ms=6.0, length=20)
    assert tables.best(limits, measured)[0].subnet == small.best(limits, latency_of())[0].subnet
