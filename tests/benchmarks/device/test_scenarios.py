"""The three loads, on a real session whose calls all take the same time by a clock that is made up."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device import scenarios
from benchmarks.device.scenarios import FEWEST_QUERIES, Case, main, run_scenario
from gearshift.errors import GearshiftError, InputError
from gearshift.runtime.bundle.bundle import open_bundle
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
def case(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    """Calls of a real session, by a clock that is made up."""
    machine, bundle = Machine(), open_bundle(tiny_bundle)
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
        ("server", "scenario server: expected a latency bound; give one with --bound-ms"),
    ],
)
def test_what_cannot_be_run_is_said(case: Case, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_scenario(name, case, seconds=0.1)


@pytest.mark.parametrize("scenario", ["single-stream", "offline", "server"])
def test_the_program_says_what_was_run_and_that_it_is_no_mlperf_result(
    tiny_bundle: Path, scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--scenario", scenario, "--seconds", "0.5", "--threads", "1", "--bound-ms", "200", "--tokens", "16"]
    call = [str(tiny_bundle), *given, "--subnet", "w050-d100"]
    main(call)
    shown = capsys.readouterr().out
    assert shown.startswith(f"{scenario}: w050-d100, int8, 16 tokens, 1 thread\n")
    assert "no MLPerf result" in shown
    main([*call, "--json"])
    assert json.loads(capsys.readouterr().out)["scenario"] == scenario


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--scenario", "server", "--seconds", "0.1"), "scenario server: expected a latency bound"),
        (("--scenario", "offline", "--subnet", "w1"), "unknown subnet 'w1'"),
    ],
)
def test_the_program_refuses_what_cannot_be_run(tiny_bundle: Path, given: tuple[str, ...], message: str) -> None:
    with pytest.raises(GearshiftError, match=message):
        main([str(tiny_bundle), "--threads", "1", *given])
