"""The latency of operations out of whole nets: what was put in comes out, and others' tables are refused."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import pytest

from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import ProfileError
from gearshift.runtime.space.blocks import OPERATIONS, Block, BlockShape, BlockSubnet
from gearshift.runtime.tables.operation_latency import SWITCH_MS, OperationLatency, fit_operation_latency

SHAPE = BlockShape(vocabulary=50, positions=128, types=2, embedding=48, head_size=8, bridge=16)
SIZES = (16, 32, 64)
LENGTHS = (16, 64)


def true_latency() -> OperationLatency:
    times = {
        (size, name): tuple(0.001 * size * (1 + number) * length / 16 for length in LENGTHS)
        for size in SIZES
        for number, name in enumerate(OPERATIONS)
    }
    return OperationLatency(
        SHAPE, "fp32", "CPUExecutionProvider", 1, LENGTHS, (0.2, 0.5), ((0.05, 0.03), (0.06, 0.02)), times
    )


def subnets(repeated: int = 4) -> dict[str, BlockSubnet]:
    """Make the subnets as `export.operations_bundle` does."""
    ones = [Block(size, ("attention",)) for size in SIZES]
    several = [Block(size, (name,) * repeated) for size, name in itertools.product(SIZES, OPERATIONS)]
    pairs = [*((block, ones[0]) for block in (*several, *ones)), *((one, one) for one in ones)]
    return {net.name: net for net in map(BlockSubnet, pairs)}


def table_of(nets: Mapping[str, BlockSubnet]) -> LatencyTable:
    known = true_latency()
    times = {name: tuple(known.predict(net, length, shape=SHAPE) for length in LENGTHS) for name, net in nets.items()}
    return LatencyTable("00", "fp32", "CPUExecutionProvider", 1, LENGTHS, times, times, 3, "made up", "2026-01-31")


def test_what_operations_and_projections_take_is_found_again() -> None:
    known, found = true_latency(), fit_operation_latency(SHAPE, subnets(), table_of(subnets()))
    for cell, times in known.operations_ms.items():
        assert found.operations_ms[cell] == pytest.approx(times, rel=1e-5)
    assert found.fixed_ms == pytest.approx(known.fixed_ms)
    for mine, its in zip(found.projection_ms, known.projection_ms, strict=True):
        assert mine == pytest.approx(its)
    lone = BlockShape(**{**SHAPE.to_dict(), "bridge": 0})
    net = BlockSubnet((Block(16, ("attention", "ffn")), Block(32, ("conv5", "conv3"))))
    for length in (8, 16, 40, 64, 100):
        assert found.predict(net, length, shape=lone) == pytest.approx(known.predict(net, length, shape=lone))
    sums = sum(known.operation(b.hidden, name, 64) for b in net.layers for name in b.operations)
    projections = known.projection(48, 16, 64) + known.projection(16, 32, 64)
    assert known.predict(net, 64, shape=lone) == pytest.approx(known.fixed(64) + projections + sums)
    assert known.projection(16, 16, 64) == 0
    without = fit_operation_latency(SHAPE, subnets(), table_of(subnets()), switches=20)
    assert found.predict(net, 64, shape=lone) - without.predict(net, 64, shape=lone) == pytest.approx(20 * SWITCH_MS)


def test_nets_that_do_not_tell_operations_apart_are_refused() -> None:
    few = dict(list(subnets().items())[:12])
    with pytest.raises(ProfileError, match="do not tell 12 operations and the fixed time apart"):
        fit_operation_latency(SHAPE, few, table_of(few))


def test_tables_and_operations_of_another_space_are_refused() -> None:
    with pytest.raises(ProfileError, match="no subnet '16FFFF-16M' here"):
        fit_operation_latency(SHAPE, {}, table_of(subnets()))
    with pytest.raises(ProfileError, match="no ffn at hidden size 128, only sizes 16, 32, 64"):
        true_latency().operation(128, "ffn", 16)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [({"head_size": 16}, "expected head_size 16, not 8"), ({"expansion": 2}, "expected expansion 2, not 4")],
)
def test_nets_with_other_heads_or_neurons_are_refused(sizes: dict[str, int], told: str) -> None:
    shape = replace(SHAPE, bridge=0, **sizes)
    with pytest.raises(ProfileError, match=told):
        true_latency().predict(BlockSubnet((Block(16, ("attention",)),)), 16, shape=shape)


def test_of_a_net_that_answers_from_its_first_token_less_is_computed_from_its_last_look_on() -> None:
    """Here times grow with the tokens: one of 64 takes a 64th, which is no more than a hair of a block."""
    known, lone = true_latency(), replace(SHAPE, bridge=0)

    def last(*names: str) -> tuple[float, float]:
        net = BlockSubnet((Block(16, ("ffn", "conv3")), Block(16, names)))
        whole, first = (known.predict(net, 64, shape=lone, first_only=one) for one in (False, True))
        rest = known.predict(BlockSubnet((Block(16, ("ffn", "conv3")),)), 64, shape=lone)
        return whole - rest, first - rest

    def each(name: str) -> float:
        return known.operation(16, name, 64)

    assert last("ffn", "ffn") == pytest.approx((2 * each("ffn"), 2 * each("ffn") / 64))
    whole, first = last("conv7", "attention", "ffn")
    assert whole == pytest.approx(sum(map(each, ("conv7", "attention", "ffn"))))
    # Of attention's four products and two over 64 tokens those of keys and values are left: 2 x 16 of 4 x 16 + 2 x 64.
    assert first == pytest.approx(
        each("conv7") + each("attention") * (1 / 64 + 63 / 64 * 32 / (64 + 128)) + each("ffn") / 64
    )
    assert last("ffn", "conv5")[1] == pytest.approx(each("ffn") + each("conv5") * 5 / 64)


def test_one_length_says_nothing_about_fewer_tokens() -> None:
    known = true_latency()
    short = replace(
        known, lengths=(16,), operations_ms={cell: times[:1] for cell, times in known.operations_ms.items()}
    )
    for name in OPERATIONS:
        assert 0 < short.of_first(16, name, 16) <= short.operation(16, name, 16)
    assert short.of_first(16, "ffn", 16) == short.operation(16, "ffn", 16)
