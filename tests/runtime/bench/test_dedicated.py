"""Every subnet is timed in turns with its rival."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from gearshift.errors import BundleError
from gearshift.runtime.bench.dedicated import BenchReport, Rival, granularity, run_bench
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.uniform import uniform_grid

SHAPE = EncoderShape(layers=4, hidden=32, heads=4, neurons=64, vocabulary=100, positions=32, types=2)


@pytest.mark.parametrize(("layers", "name"), [(1, "layer"), (2, "block"), (3, "block"), (4, "pool")])
def test_the_granularity_is_read_off_the_space(layers: int, name: str) -> None:
    assert granularity(cut_space(SHAPE, list(uniform_grid(SHAPE).values()), layers)) == name


@contextlib.contextmanager
def no_rival(precision: str, name: str, threads: int) -> Iterator[Rival]:
    raise AssertionError("asked for a rival though there is nothing to time")
    yield


def test_a_precision_that_the_bundle_lacks_is_named(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="no fp64 graph in this bundle; it has fp32, int8"):
        run_bench(bundle, no_rival, precisions=["fp64"])


@pytest.fixture
def compared(bundle: Bundle) -> tuple[BenchReport, list[str]]:
    """A report beside rivals that answer each subnet with the smallest, and what was opened and closed."""
    seen: list[str] = []
    smallest = bundle.entry("w025-d050", "fp32")

    @contextlib.contextmanager
    def rival(precision: str, name: str, threads: int) -> Iterator[Rival]:
        assert threads == 1
        seen.append(f"open {name}")
        with contextlib.closing(ElasticSession(bundle, precision, threads=threads)) as session:
            yield Rival(session, smallest.choice, segments=7)
        seen.append(f"close {name}")

    return run_bench(bundle, rival, precisions=["fp32"], lengths=(32, 4, 32), rounds=3), seen


def test_each_rival_is_open_only_while_it_is_timed(compared: tuple[BenchReport, list[str]], bundle: Bundle) -> None:
    assert compared[1] == [f"{what} {name}" for name in bundle.pool("fp32") for what in ("open", "close")]


def test_ratios_are_of_medians_and_their_means_of_all_subnets(compared: tuple[BenchReport, list[str]]) -> None:
    report = compared[0]
    for row in report.rows:
        assert row.ratio == row.times.median_ms / row.dedicated.median_ms
        assert row.segments == 7
        assert (row.times.runs, row.dedicated.runs) == (3, 3)
    for tokens in (4, 32):
        ratios = [row.ratio for row in report.rows if row.tokens == tokens]
        assert report.mean_ratios["fp32"][tokens] == pytest.approx(sum(ratios) / 12)
    assert report.lengths == (4, 32)
    assert {(row.subnet, row.tokens) for row in report.rows} == {
        (name, tokens) for name in report.bundle.pool("fp32") for tokens in (4, 32)
    }
    facts = json.loads(json.dumps(report.to_dict()))
    assert facts["mean_ratios"]["fp32"]["4"] == report.mean_ratios["fp32"][4]
    assert facts["rows"][0]["ratio"] == report.rows[0].ratio
