"""Counters as a dict, as text that Prometheus's own parser reads, and over the loopback."""

from __future__ import annotations

import socket
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gearshift.errors import InputError
from gearshift.runtime import Engine
from gearshift.runtime.sensors.caps import Caps
from gearshift.runtime.serving.metrics import Metrics
from gearshift.runtime.serving.metrics import samples as lines_of
from gearshift.runtime.serving.metrics_server import MetricsServer
from gearshift.runtime.serving.tally import ERROR_KINDS, SECONDS, Histogram
from tests.command_line import PATIENCE_S
from tests.runtime.serving.test_record import ANSWERED, HEADER, SHED

SMALL = replace(ANSWERED, subnet="small", met=False)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    return {
        (sample.name.removeprefix("gearshift_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(HEADER.accuracies)


def test_requests_are_counted_by_subnet_and_outcome(metrics: Metrics) -> None:
    for record in (ANSWERED, ANSWERED, SMALL, SHED, replace(SMALL, met=None)):
        metrics.note(record)
    samples = parsed(metrics.text())
    assert value(samples, "requests_total", subnet="big", outcome="in_time") == 2
    assert value(samples, "requests_total", subnet="small", outcome="late") == 1
    assert value(samples, "requests_total", subnet="small", outcome="no_deadline") == 1
    assert value(samples, "requests_total", subnet="none", outcome="shed") == 1
    assert metrics.stats() == {
        "requests": 4,
        "failed": 1,
        "met": 2,
        "missed": 1,
        "switches": 1,
        "subnets": {"big": 2, "small": 2},
    }


def test_switches_have_a_direction_and_failures_are_none(metrics: Metrics) -> None:
    for record in (ANSWERED, SMALL, SHED, SMALL, ANSWERED, SMALL):
        metrics.note(record)
    samples = parsed(metrics.text())
    assert value(samples, "switches_total", direction="down") == 2
    assert value(samples, "switches_total", direction="up") == 1
    assert metrics.stats()["switches"] == 3


@given(st.lists(st.floats(0, 10) | st.sampled_from(SECONDS)))
def test_buckets_count_all_values_up_to_their_bound(values: list[float]) -> None:
    histogram = Histogram(SECONDS)
    for one in values:
        histogram.observe(one)
    samples = parsed("\n".join(["# TYPE t histogram", *lines_of("t", histogram)]) + "\n")
    for bound in SECONDS:
        assert value(samples, "t_bucket", le=str(bound)) == sum(one <= bound for one in values)
    assert value(samples, "t_bucket", le="+Inf") == value(samples, "t_count") == len(values)
    assert value(samples, "t_sum") == pytest.approx(sum(values))
    assert all(low < high for low, high in pairwise(SECONDS))


def test_times_are_in_seconds_and_a_ratio_up_to_one_was_covered(metrics: Metrics) -> None:
    metrics.note(replace(ANSWERED, latency_ms=7.0, waited_ms=3.0, run_ms=5.0, predicted_ms=5.0))
    samples = parsed(metrics.text())
    assert value(samples, "latency_seconds_sum") == pytest.approx(0.007)
    assert value(samples, "queue_seconds_sum") == pytest.approx(0.003)
    assert value(samples, "predicted_ratio_bucket", le="1.0") == 1
    assert value(samples, "predicted_ratio_bucket", le="0.9") == 0


def test_the_last_caps_and_slow_down_are_shown(metrics: Metrics) -> None:
    metrics.note(ANSWERED)
    metrics.note(replace(ANSWERED, caps=Caps(2, ("heat", "power")), slow_down=3.5))
    samples = parsed(metrics.text())
    assert value(samples, "largest_rung") == 2
    assert value(samples, "capped", reason="heat") == value(samples, "capped", reason="power") == 1
    assert ("capped", frozenset({("reason", "battery")})) not in samples
    assert value(samples, "slow_down") == 3.5
    assert value(samples, "resident_bytes") > 1e6


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_name_comes_back_from_the_text(name: str) -> None:
    metrics = Metrics({name: 1.0})
    metrics.note(replace(ANSWERED, subnet=name))
    # Only \n ends a line of the format; the parser splits at others too where they are not in quotes.
    assert value(parsed(metrics.text()), "requests_total", subnet=name or "none", outcome="in_time") == 1


def test_every_family_has_help_and_type_once_and_the_text_ends_with_a_line_end(metrics: Metrics) -> None:
    lines = metrics.text().split("\n")
    assert lines.pop() == ""
    for kind in ("HELP", "TYPE"):
        named = [line.split()[2] for line in lines if line.startswith(f"# {kind} ")]
        assert len(named) == len(set(named)) == 9


def test_memory_is_bounded_whatever_errors_are_called(metrics: Metrics) -> None:
    for number in range(3 * ERROR_KINDS):
        metrics.note(replace(SHED, error=f"kind {number}"))
    samples = parsed(metrics.text())
    assert sum(name == "requests_total" for name, _ in samples) == ERROR_KINDS + 1
    assert value(samples, "requests_total", subnet="none", outcome="other") == 2 * ERROR_KINDS
    assert metrics.stats()["failed"] == 3 * ERROR_KINDS


def note_many(metrics: Metrics) -> None:
    for _ in range(500):
        metrics.note(ANSWERED)


def test_several_threads_lose_no_request(metrics: Metrics) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=note_many, args=[metrics]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    samples = parsed(metrics.text())
    assert metrics.stats()["requests"] == value(samples, "latency_seconds_count") == 4000


# Over the loopback


def fetch(port: int, path: str = "/metrics") -> tuple[str, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_an_engine_serves_its_metrics_while_it_is_open(tiny_bundle: Path) -> None:
    with Engine.load(tiny_bundle, threads=1, precision="fp32", metrics_port=0) as engine:
        with pytest.raises(InputError, match=r"this engine already serves its metrics on port \d+$") as raised:
            engine.serve_metrics(0)
        port = int(str(raised.value).split()[-1])
        answer = engine.run("turn the lights off")
        kind, text = fetch(port)
        assert kind.startswith("text/plain; version=0.0.4")
        assert value(parsed(text), "requests_total", subnet=answer.subnet, outcome="no_deadline") == 1
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(port, "/")
    with pytest.raises(urllib.error.URLError):
        fetch(port)


def test_nothing_is_served_unless_asked_for(tiny_bundle: Path) -> None:
    with Engine.load(tiny_bundle, threads=1, precision="fp32"):
        assert not [thread for thread in threading.enumerate() if thread.name == "gearshift-metrics"]


def test_only_the_loopback_is_bound() -> None:
    server = MetricsServer(0, lambda: "")
    try:
        assert server._listener.getsockname()[0] == "127.0.0.1"
    finally:
        server.close()


def test_a_port_that_is_taken_is_one_clear_line(tiny_bundle: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"metrics_port: 127.0.0.1:{port} cannot be used .*name another"):
            Engine.load(tiny_bundle, threads=1, precision="fp32", metrics_port=port)


@pytest.mark.parametrize("port", [-1, 65536, True, "9464", 1.0])
def test_what_is_no_port_is_refused(tiny_bundle: Path, port: object) -> None:
    with pytest.raises(InputError, match="metrics_port: expected a whole number from 0 to 65535"):
        Engine.load(tiny_bundle, metrics_port=port)  # type: ignore[arg-type]
