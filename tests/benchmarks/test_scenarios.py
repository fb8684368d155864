"""The three loads, on a real session."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.scenarios import FEWEST_QUERIES, Case, main, run_scenario
from gearshift.errors import GearshiftError, InputError
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.inference.session import ElasticSession


@pytest.fixture(scope="module")
def case(tiny_bundle: Path) -> Iterator[Case]:
    bundle = open_bundle(tiny_bundle)
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
