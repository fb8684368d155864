"""Tests of streams of requests under policies, and of their summary."""

import dataclasses
import math

import pytest

from benchmarks.device.contention import Spell
from benchmarks.serving.live_outcome import ahead, best_fixed, goodput, row
from benchmarks.serving.live_report import table
from benchmarks.serving.live_rows import Labelled
from benchmarks.serving.live_stream import DROPPED, Request, Served, Stage, arrivals
from gearshift.runtime import Classification


class Still:
    """Other work that are never asked."""

    def set(self, state: str) -> None:
        raise AssertionError(state)


SPELLS = (Spell(0.0, "free"), Spell(1.0, "both"))
STAGE = Stage(0.0, SPELLS, deadline_ms=10.0, work=Still())  # type: ignore[arg-type]


def answer(label: str, subnet: str = "w100-d100") -> Classification:
    return Classification(
        subnet=subnet,
        reason="fits",
        latency_ms=1.0,
        predicted_ms=1.0,
        deadline_ms=10.0,
        deadline_met=True,
        tokens=3,
        truncated=False,
        label=label,
        score=1.0,
        scores={label: 1.0},
    )


def is_good(answer: Classification) -> float:
    return float(answer.label == "good")


def served(at: float, took_ms: float, label: str = "good", subnet: str = "w100-d100") -> Served:
    return STAGE.served(Request(at, "text", is_good, 3), answer(label, subnet), at + took_ms / 1e3)


def test_an_answer_counts_where_it_is_right_and_in_time_from_its_arrival() -> None:
    one = served(0.5, 9.0)
    assert (one.subnet, one.met, one.gain, one.state) == ("w100-d100", True, 1, "free")
    assert one.latency_ms == pytest.approx(9.0)
    late, wrong = served(0.5, 11.0), served(0.5, 9.0, label="bad")
    assert (late.met, late.score, late.gain) == (False, 1, 0)
    assert (wrong.met, wrong.score, wrong.gain) == (True, 0, 0)
    assert served(1.5, 9.0).state == "both"


def test_what_was_dropped_is_neither_right_nor_in_time() -> None:
    dropped = STAGE.served(Request(0.5, "text", is_good, 3), None, 0.6)
    assert dropped == Served(0.5, math.inf, DROPPED, met=False, score=0.0, state="free")


def test_shares_are_of_all_requests_and_latencies_of_the_answered_ones() -> None:
    dropped = STAGE.served(Request(0.2, "text", is_good, 3), None, 0.3)
    ones = [served(0.1, 4.0), dropped, served(0.3, 6.0, subnet="w050-d100"), served(1.4, 12.0), served(1.5, 8.0, "bad")]
    found = row("some", ones, ones, seconds=60.0)
    assert found.requests == 5
    assert [found.met, found.score, found.dropped] == pytest.approx([0.6, 0.6, 0.2])
    assert {state: value for state, (value, _, _) in found.goodput.items()} == pytest.approx(
        {"": 0.4, "free": 2 / 3, "both": 0.0}
    )
    assert found.met_in == pytest.approx({"free": 2 / 3, "both": 0.5})
    assert found.p50_ms == pytest.approx(7.0)
    assert found.ahead == {"": (0, 0, 0), "free": (0, 0, 0), "both": (0, 0, 0)}
    assert found.switches_per_minute == 2  # to w050-d100 and back; a dropped request runs nothing


def test_a_stream_is_in_order_and_the_same_for_a_seed() -> None:
    rows = [(Labelled("a", is_good), 3), (Labelled("b", is_good), 4)]
    stream = arrivals(rows, 50.0, 20.0, seed=1)
    assert stream == arrivals(rows, 50.0, 20.0, seed=1) != arrivals(rows, 50.0, 20.0, seed=2)
    times = [request.arrives_s for request in stream]
    assert times == sorted(times) and times[0] > 0 and times[-1] < 50
    assert len(stream) == pytest.approx(50 * 20, rel=0.1)  # three deviations of a Poisson count
    assert {(request.text, request.tokens) for request in stream} == {("a", 3), ("b", 4)}


def test_a_lead_is_told_by_slices_that_both_served() -> None:
    ours = [dataclasses.replace(served(0.1, 4.0), slice_s=start) for start in (0.0, 30.0, 60.0, 90.0)]
    late = [dataclasses.replace(one, met=False) for one in ours]
    assert ahead(ours, late) == (1.0, 1.0, 1.0)
    half = [*late[:2], *ours[2:]]
    value, low, high = ahead(ours, half)
    assert value == 0.5 and 0 <= low < 0.5 < high <= 1
    assert ahead(half, ours)[0] == -value


def test_a_lead_in_a_state_is_of_the_requests_that_arrived_in_it() -> None:
    ours = [served(0.5, 4.0), served(1.5, 4.0)]
    theirs = [served(0.5, 40.0), served(1.5, 4.0)]
    assert ahead(ours, theirs, "free")[0] == 1.0
    assert ahead(ours, theirs, "both")[0] == 0.0


def test_a_score_between_right_and_wrong_counts_in_part() -> None:
    ones = [dataclasses.replace(served(0.5, 4.0), score=score) for score in (0.25, 0.75)]
    late = dataclasses.replace(ones[1], met=False)
    assert goodput(ones) == (0.5, 0.5, 0.5)
    assert goodput([ones[0], late])[0] == 0.125
    assert row("some", [ones[0], late], ones, seconds=1.0).score == 0.5


def test_the_best_single_subnet_is_that_of_each_state() -> None:
    late = {"static a": (1.0, 0.0), "static b": (0.5, 0.5), "gearshift": (0.0, 0.0)}
    rows = []
    ours = [served(0.5, 4.0), served(1.5, 4.0)]
    for name, shares in late.items():
        theirs = [dataclasses.replace(one, score=share) for one, share in zip(ours, shares, strict=True)]
        rows.append(row(name, theirs, ours, seconds=1.0))
    best = best_fixed(rows)
    assert {state: one.policy for state, one in best.items()} == {
        "": "static a",
        "free": "static a",
        "both": "static b",
    }
    assert best_fixed(rows[2:]) == {}
    last = table(rows, 10.0, 1.0, "the label is right")[-3]
    assert last.startswith("| **the best single subnet of all, and of each state, in hindsight** | +50.0")
    assert last.endswith("| +50.0 (+50.0 to +50.0), b |")
