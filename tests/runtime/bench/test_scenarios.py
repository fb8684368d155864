"""The three loads, on a real session."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from gearshift.errors import InputError
from gearshift.runtime.bench.scenarios import FEWEST_QUERIES, Case, run_scenario
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.session import ElasticSession


@pytest.fixture(scope="module")
def case(bundle: Bundle) -> Iterator[Case]:
    with contextlib.closing(ElasticSession(bundle, "int8", threads=1)) as session:
        yield Case(bundle, session, "w050-d100", 8)


def test_a_single_stream_is_judged_by_its_90th_percentile(case: Case) -> None:
    result = run_scenario("single-stream", case, seconds=0.2)
    assert result.queries >= FEWEST_QUERIES
    assert result.value == pytest.approx(result.latency_ms["p90"])
    percentiles = list(result.latency_ms.values())
    assert percentiles == sorted(percentiles)
    assert result.valid
    assert json.loads(json.dumps(result.to_dict()))["subnet"] == "w050-d100"


def test_offline_counts_samples_a_second(case: Case) -> None:
    result = run_scenario("offline", case, seconds=0.2, batch=4)
    assert result.queries % 4 == 0
    assert result.value == pytest.approx(result.queries / result.seconds, rel=0.01)
    assert result.facts == {"batch": 4}


def test_a_server_finds_the_rate_whose_99th_percentile_keeps_the_bound(case: Case) -> None:
    result = run_scenario("server", case, seconds=1.0, bound_ms=500.0)
    assert result.valid
    assert result.latency_ms["p99"] <= 500.0
    met = [tried["rate"] for tried in result.facts["tried"] if tried["met"]]
    missed = [tried["rate"] for tried in result.facts["tried"] if not tried["met"]]
    assert result.value == max(met)
    assert all(rate < other for rate in met for other in missed)


def test_a_bound_that_no_rate_keeps_is_invalid(case: Case) -> None:
    result = run_scenario("server", case, seconds=0.3, bound_ms=1e-6)
    assert not result.valid
    assert result.value == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("multi-stream", "scenario: expected one of single-stream, server, offline, got 'multi-stream'"),
        ("server", "scenario server: expected a latency bound; give one with --deadline-ms"),
    ],
)
def test_what_cannot_be_run_is_said(case: Case, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_scenario(name, case, seconds=0.1)
