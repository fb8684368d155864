"""The three loads, on a real session whose calls all take the same time by a clock that is made up."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gearshift.errors import InputError
from gearshift.runtime.bench import scenarios
from gearshift.runtime.bench.scenarios import FEWEST_QUERIES, Case, run_scenario
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.session import ElasticSession


class Machine:
    """A clock that calls move: each takes 2 ms, whatever CPU makes it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def case(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    """Calls of a real session, by a clock that is made up."""
    machine = Machine()
    monkeypatch.setattr(scenarios, "time", machine)
    with contextlib.closing(ElasticSession(bundle, "int8", threads=1)) as session:
        real = session.run

        def run(*given: Any) -> Any:
            machine.now_s += 0.002
            return real(*given)

        monkeypatch.setattr(session, "run", run)
        yield Case(bundle, session, "w050-d100", 8)


def test_a_single_stream_is_judged_by_its_90th_percentile(case: Case) -> None:
    result = run_scenario("single-stream", case, seconds=0.2)
    assert result.queries == pytest.approx(100, abs=1)
    assert result.value == pytest.approx(result.latency_ms["p90"]) == pytest.approx(2.0)
    percentiles = list(result.latency_ms.values())
    assert percentiles == pytest.approx(sorted(percentiles))
    assert result.valid
    assert json.loads(json.dumps(result.to_dict()))["subnet"] == "w050-d100"


def test_a_short_single_stream_has_enough_queries_for_its_percentiles(case: Case) -> None:
    assert run_scenario("single-stream", case, seconds=0.01).queries == FEWEST_QUERIES


def test_offline_counts_samples_a_second(case: Case) -> None:
    result = run_scenario("offline", case, seconds=0.2, batch=4)
    assert result.queries == pytest.approx(4 * 100, abs=4) and result.queries % 4 == 0
    assert result.value == pytest.approx(4 / 0.002)
    assert result.facts == {"batch": 4}


def test_a_server_finds_the_rate_whose_99th_percentile_keeps_the_bound(case: Case) -> None:
    result = run_scenario("server", case, seconds=1.0, bound_ms=6.0)
    assert result.valid
    assert result.latency_ms["p99"] <= 6.0
    met = [tried["rate"] for tried in result.facts["tried"] if tried["met"]]
    missed = [tried["rate"] for tried in result.facts["tried"] if not tried["met"]]
    assert met and missed and result.value == max(met) < 1 / 0.002
    assert all(rate < other for rate in met for other in missed)


def test_a_bound_that_no_rate_keeps_is_invalid(case: Case) -> None:
    result = run_scenario("server", case, seconds=0.3, bound_ms=1.9)
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
