"""Latency as a sum over layers: the fit finds what made the times, and says when it cannot."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

import numpy as np
import pytest

from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import ProfileError
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.tables.layer_latency import LayerLatency, fit_layer_latency

SHAPE = EncoderShape(layers=6, hidden=384, heads=12, neurons=1536, vocabulary=100, positions=128, types=2)
SIZES = ((12, 1536), (9, 1152), (6, 768), (3, 384), (0, 0))
LENGTHS = (16, 64, 128)


def random_subnets(count: int, seed: int = 0) -> dict[str, Subnet]:
    source = random.Random(seed)
    drawn = {tuple(source.choice(SIZES) for _ in range(SHAPE.layers)) for _ in range(2 * count)}
    kept = [layers for layers in sorted(drawn) if any(heads for heads, _ in layers)][:count]
    return {f"s{number}": Subnet(layers) for number, layers in enumerate(kept)}


def table_of(subnets: dict[str, Subnet], *, noise: float = 0.0) -> LatencyTable:
    """A device on which small layers are not as fast as their size says."""
    source = np.random.default_rng(0)

    def time(subnet: Subnet, length: int) -> float:
        total = 0.2 + 0.01 * length
        for kept in subnet.kept():
            neurons = kept.neurons * (1 if kept.layer < SHAPE.layers - 1 else 1 / length)  # of the first token alone
            total += length * (0.002 * kept.heads + 1e-5 * neurons) + 0.05 + 0.1 * (kept.heads == 3)
        return total * float(np.exp(noise * source.normal()))

    medians = {name: tuple(time(subnet, length) for length in LENGTHS) for name, subnet in subnets.items()}
    return LatencyTable("0" * 64, "fp32", "CPUExecutionProvider", 1, LENGTHS, medians, medians, 5, "-", "2026-01-31")


def relative_errors(
    fitted: LayerLatency, subnets: Mapping[str, Subnet], table: LatencyTable, names: Collection[str]
) -> list[float]:
    """|predicted / measured - 1| of these subnets at every length of the table."""
    return [
        abs(fitted.predict(subnets[name], length) / measured - 1)
        for name in names
        for length, measured in zip(table.lengths, table.median_ms[name], strict=True)
    ]


def test_subnets_that_the_fit_did_not_see_are_predicted() -> None:
    subnets = random_subnets(120)
    table = table_of(subnets, noise=0.01)
    seen, unseen = list(subnets)[:40], list(subnets)[40:]
    errors = relative_errors(fit_layer_latency(SHAPE, subnets, table, only=seen), subnets, table, unseen)
    assert len(errors) == len(unseen) * len(LENGTHS)
    assert np.median(errors) < 0.02 and np.percentile(errors, 95) < 0.04


def test_a_fit_to_few_subnets_stays_near_the_plane() -> None:
    subnets = random_subnets(60)
    table = table_of(subnets, noise=0.01)
    seen = list(subnets)[:8]
    errors = relative_errors(fit_layer_latency(SHAPE, subnets, table, only=seen), subnets, table, list(subnets)[8:])
    assert np.percentile(errors, 95) < 0.15


def test_between_the_lengths_lie_straight_lines_and_sums_are_those_of_the_parts() -> None:
    subnets = random_subnets(60)
    fitted = fit_layer_latency(SHAPE, subnets, table_of(subnets))
    one = subnets["s7"]
    assert fitted.predict(one, 40) == pytest.approx((fitted.predict(one, 16) + fitted.predict(one, 64)) / 2)
    assert fitted.predict(one, 8) == fitted.predict(one, 16)
    parts = [fitted.layers((layer,), 64, first=place, of=6) for place, layer in enumerate(one.layers)]
    assert fitted.predict(one, 64) == pytest.approx(fitted.fixed(64) + sum(parts))


def test_a_table_of_other_subnets_or_of_too_few_is_refused() -> None:
    subnets = random_subnets(20)
    table = table_of(subnets)
    with pytest.raises(ProfileError, match="another space: no subnet 's0'"):
        fit_layer_latency(SHAPE, {"w100-d100": subnets["s0"]}, table)
    with pytest.raises(ProfileError, match="6 measured subnets or more, found 5"):
        fit_layer_latency(SHAPE, subnets, table, only=list(subnets)[:5])


def test_the_last_layer_is_cheaper_where_the_graph_computes_the_first_token_alone_behind_it() -> None:
    subnets = random_subnets(80)
    fitted = fit_layer_latency(SHAPE, subnets, table_of(subnets))
    inner, last = (fitted.layers(((12, 1536),), 128, first=first, of=6) for first in (0, 5))
    assert inner - last == pytest.approx(127 * 1e-5 * 1536, rel=0.05)
    whole = fitted.layers(((12, 1536),) * 6, 128, first=0, of=6)
    assert whole == pytest.approx(5 * inner + last)
