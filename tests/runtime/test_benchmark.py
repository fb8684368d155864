"""Every subnet is timed, and beside a rival each in turns with its own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from gearshift.runtime.benchmark import BenchReport, Rival, granularity, run_bench
from gearshift.runtime.bundle import Bundle
from gearshift.runtime.errors import BundleError
from gearshift.runtime.session import ElasticSession
from gearshift.runtime.space import EncoderShape, cut_space, uniform_grid

SHAPE = EncoderShape(layers=4, hidden=32, heads=4, neurons=64, vocabulary=100, positions=32, types=2)


@pytest.mark.parametrize(("layers", "name"), [(1, "layer"), (2, "block"), (3, "block"), (4, "pool")])
def test_the_granularity_is_read_off_the_space(layers: int, name: str) -> None:
    assert granularity(cut_space(SHAPE, list(uniform_grid(SHAPE).values()), layers)) == name


def test_every_subnet_is_timed_at_every_precision_and_length(bundle: Bundle) -> None:
    report = run_bench(bundle, lengths=(9, 4, 9), rounds=2)
    assert report.lengths == (4, 9)
    cells = {(row.precision, row.subnet, row.tokens) for row in report.rows}
    assert cells == {(p, name, n) for p in ("fp32", "int8") for name in bundle.pool(p) for n in (4, 9)}
    assert len(report.rows) == len(cells)
    assert all(0 < row.times.median_ms <= row.times.p95_ms and row.times.runs == 2 for row in report.rows)
    assert report.mean_ratios == {}
    facts = json.loads(json.dumps(report.to_dict()))
    assert (facts["hash"], facts["granularity"], facts["threads"]) == (bundle.hash, "layer", 1)
    assert "mean_ratios" not in facts and "ratio" not in facts["rows"][0]


def test_without_lengths_those_are_timed_that_the_bundle_takes(bundle: Bundle) -> None:
    assert bundle.manifest.max_length == 32
    assert run_bench(bundle, precisions=["int8"], rounds=1).lengths == (16,)


def test_a_precision_that_the_bundle_lacks_is_named(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="no fp64 graph in this bundle; it has fp32, int8"):
        run_bench(bundle, precisions=["fp64"])


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

    return run_bench(bundle, precisions=["fp32"], lengths=(4, 32), rounds=3, rivals=rival), seen


def test_each_rival_is_open_only_while_it_is_timed(compared: tuple[BenchReport, list[str]], bundle: Bundle) -> None:
    assert compared[1] == [f"{what} {name}" for name in bundle.pool("fp32") for what in ("open", "close")]


def test_ratios_are_of_medians_and_their_means_of_all_subnets(compared: tuple[BenchReport, list[str]]) -> None:
    report = compared[0]
    for row in report.rows:
        assert row.dedicated is not None
        assert row.ratio == row.times.median_ms / row.dedicated.median_ms
        assert row.segments == 7
        assert (row.times.runs, row.dedicated.runs) == (3, 3)
    for tokens in (4, 32):
        ratios = [row.ratio for row in report.rows if row.tokens == tokens]
        assert report.mean_ratios["fp32"][tokens] == pytest.approx(sum(ratios) / 12)
    facts = report.to_dict()
    assert facts["mean_ratios"] == report.mean_ratios
    assert facts["rows"][0]["ratio"] == report.rows[0].ratio
