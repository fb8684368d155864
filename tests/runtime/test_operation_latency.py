"""The latency of operations out of whole nets: what was put in comes out, and others' tables are refused."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest

from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.errors import ProfileError
from gearshift.runtime.mixed import OPERATIONS, Block, MixedShape, MixedSubnet
from gearshift.runtime.operation_latency import OperationLatency, fit_operation_latency

SHAPE = MixedShape(vocabulary=50, positions=128, types=2, embedding=48, head_size=8, bridge=48)
SIZES = (16, 32)
LENGTHS = (16, 64)


def true_latency() -> OperationLatency:
    times = {
        (size, name): tuple(0.001 * size * (1 + number) * length / 16 for length in LENGTHS)
        for size in SIZES
        for number, name in enumerate(OPERATIONS)
    }
    return OperationLatency(8, 4, "fp32", "CPUExecutionProvider", 1, LENGTHS, (0.2, 0.5), (0.03, 0.02), times)


def subnets(counts: tuple[int, ...] = (1, 4)) -> dict[str, MixedSubnet]:
    found = {}
    for size, name, count in itertools.product(SIZES, OPERATIONS, counts):
        block = Block(size, (name,) * count)
        found[block.name] = MixedSubnet((block,))
    return found


def table_of(nets: Mapping[str, MixedSubnet]) -> LatencyTable:
    known = true_latency()
    times = {name: tuple(known.predict(net, SHAPE, length) for length in LENGTHS) for name, net in nets.items()}
    return LatencyTable("00", "fp32", "CPUExecutionProvider", 1, LENGTHS, times, times, 3, "made up", "2026-01-31")


def test_what_operations_and_projections_take_is_found_again() -> None:
    known, found = true_latency(), fit_operation_latency(SHAPE, subnets(), table_of(subnets()))
    for cell, times in known.operations_ms.items():
        assert found.operations_ms[cell] == pytest.approx(times, rel=1e-6)
    assert found.fixed_ms == pytest.approx(known.fixed_ms) and found.product_ms == pytest.approx(known.product_ms)
    lone = MixedShape(**{**SHAPE.to_dict(), "bridge": 0})
    net = MixedSubnet((Block(16, ("attention", "ffn")), Block(32, ("conv5", "conv3"))))
    for length in (8, 16, 40, 64, 100):
        assert found.predict(net, lone, length) == pytest.approx(known.predict(net, lone, length))
    sums = sum(known.operation(b.hidden, name, 64) for b in net.blocks for name in b.operations)
    projections = known.projection(48, 16, 64) + known.projection(16, 32, 64)
    assert known.predict(net, lone, 64) == pytest.approx(known.fixed(64) + projections + sums)
    assert known.projection(16, 16, 64) == 0


def test_nets_that_do_not_tell_operations_apart_are_refused() -> None:
    with pytest.raises(ProfileError, match="do not tell 10 operations apart"):
        fit_operation_latency(SHAPE, subnets((2,)), table_of(subnets((2,))))


def test_tables_and_operations_of_another_space_are_refused() -> None:
    with pytest.raises(ProfileError, match="no subnet '16F' here"):
        fit_operation_latency(SHAPE, {}, table_of(subnets()))
    with pytest.raises(ProfileError, match="no ffn at hidden size 64, only sizes 16, 32"):
        true_latency().operation(64, "ffn", 16)
