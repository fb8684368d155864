"""Tests of streams of requests under policies, and of their summary."""

import dataclasses
import math
from pathlib import Path

import pytest

from benchmarks.device.contention import Spell
from benchmarks.serving.live_report import ahead, row
from benchmarks.serving.live_stream import DROPPED, Request, Served, Stage, arrivals, read_rows
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


def served(at: float, took_ms: float, label: str = "good", subnet: str = "w100-d100") -> Served:
    return STAGE.served(Request(at, "text", "good", 3), answer(label, subnet), at + took_ms / 1e3)


def test_an_answer_counts_where_it_is_right_and_in_time_from_its_arrival() -> None:
    one = served(0.5, 9.0)
    assert (one.subnet, one.met, one.right, one.state) == ("w100-d100", True, True, "free")
    assert one.latency_ms == pytest.approx(9.0)
    assert not served(0.5, 11.0).met
    assert not served(0.5, 9.0, label="bad").right
    assert served(1.5, 9.0).state == "both"


def test_what_was_dropped_is_neither_right_nor_in_time() -> None:
    dropped = STAGE.served(Request(0.5, "text", "good", 3), None, 0.6)
    assert dropped == Served(0.5, math.inf, DROPPED, met=False, right=False, state="free")


def test_shares_are_of_all_requests_and_latencies_of_the_answered_ones() -> None:
    dropped = STAGE.served(Request(0.2, "text", "good", 3), None, 0.3)
    ones = [served(0.1, 4.0), dropped, served(0.3, 6.0, subnet="w050-d100"), served(1.4, 12.0), served(1.5, 8.0, "bad")]
    found = row("some", ones, ones, seconds=60.0)
    assert found.requests == 5
    assert [found.met, found.right, found.goodput, found.dropped] == pytest.approx([0.6, 0.6, 0.4, 0.2])
    assert found.goodput_of == {"free": pytest.approx(2 / 3), "both": 0.0}
    assert found.p50_ms == pytest.approx(7.0)
    assert found.ahead == {"": (0, 0, 0), "free": (0, 0, 0), "both": (0, 0, 0)}
    assert found.switches_per_minute == 2  # to w050-d100 and back; a dropped request runs nothing


def test_a_stream_is_in_order_and_the_same_for_a_seed() -> None:
    rows = [("a", "good", 3), ("b", "bad", 4)]
    stream = arrivals(rows, 50.0, 20.0, seed=1)
    assert stream == arrivals(rows, 50.0, 20.0, seed=1) != arrivals(rows, 50.0, 20.0, seed=2)
    times = [request.arrives_s for request in stream]
    assert times == sorted(times) and times[0] > 0 and times[-1] < 50
    assert len(stream) == pytest.approx(50 * 20, rel=0.1)  # three deviations of a Poisson count
    assert {(request.text, request.label, request.tokens) for request in stream} == set(rows)


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


def test_rows_of_pairs_have_two_texts(tmp_path: Path) -> None:
    (tmp_path / "single.tsv").write_text("label\tsentence\nyes\ta b\n")
    (tmp_path / "pairs.tsv").write_text("sentence\tsentence2\tlabel\na\tb\tno\n")
    assert read_rows(tmp_path / "single.tsv") == [("a b", "yes")]
    assert read_rows(tmp_path / "pairs.tsv") == [(("a", "b"), "no")]
