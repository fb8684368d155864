"""Two passes over a list: always in time if the fastest subnet is, and worth no less than one pass."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.batches import work_of
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.latency_model import Prediction
from gearshift.runtime.policy.passes import LEAST, Allowed, first_pass, second_pass, shares
from tests.runtime.policy.test_controller import ACCURACIES, TIMES, controller

VALUES = (0.95, 0.9, 0.8)
MEDIANS = (16.0, 8.0, 1.0)


def allowed(slack_ms: float, rungs: tuple[int, ...] = (0, 1, 2)) -> Allowed:
    return Allowed(rungs, slack_ms, lambda ms: 0.0, 0.8)


def times(medians: tuple[float, ...] = MEDIANS) -> Prediction:
    return Prediction(medians, [1.0] * len(medians), 1.0, 1.0, 0.1)


def test_the_first_places_are_worth_most_and_a_single_one_nothing() -> None:
    for texts in (1, 2, 3, 10, 100):
        found = shares(texts)
        assert len(found) == texts + 1
        assert found[:LEAST] == (0.0, 0.0)
        assert texts < LEAST or found[-1] == pytest.approx(1)
        assert list(found) == sorted(found)
    assert shares(10)[3] == pytest.approx(
        (1 + 1 / math.log2(3) + 0.5) / sum(1 / math.log2(p + 1) for p in range(1, 11))
    )


@pytest.mark.parametrize(
    ("slack_ms", "best", "expected"),
    [
        (100.0, 0, 0),  # the most accurate reads all
        (15.0, 1, 2),  # the largest reads 8 of 10 after the smallest, which is worth more than the middle one alone
        (8.0, 1, 1),  # or 4 of 10, which is worth less
        (1.5, 2, 2),
    ],
)
def test_a_fast_subnet_reads_all_where_the_best_are_worth_reading_again(
    slack_ms: float, best: int, expected: int
) -> None:
    assert first_pass(VALUES, times(), allowed(slack_ms), best, 10) == expected


def test_a_rung_that_is_not_allowed_reads_nothing() -> None:
    assert first_pass(VALUES, times(), allowed(15.0, (1, 2)), 1, 10) == 1
    bounds = [[2.0, 4.0, 6.0], [1.0, 2.0, 3.0], [0.1, 0.2, 0.3]]
    assert second_pass(VALUES, bounds, allowed(6.5), 2, 3) == (0, 3)
    assert second_pass(VALUES, bounds, allowed(6.5, (1, 2)), 2, 3) == (1, 3)
    assert second_pass(VALUES, bounds, allowed(1.9), 2, 3) is None, "one text has one order"
    assert second_pass(VALUES, bounds, allowed(6.5), 0, 3) is None, "nothing is more accurate"


def test_a_second_pass_that_makes_others_late_is_left_out() -> None:
    bounds = [[2.0, 4.0], [1.0, 2.0]]
    late = Allowed((0, 1), 5.0, lambda ms: ms / 10, 0.9)
    assert second_pass((0.95, 0.9), bounds, late, 1, 2) is None


@given(
    st.lists(st.sampled_from([16, 30, 64]), min_size=1, max_size=30),
    st.floats(0.5, 600),
    st.floats(0.3, 1.0),
    st.integers(0, 1),
)
def test_a_ranking_is_in_time_whenever_the_smallest_subnet_is(
    lengths: list[int], slack_ms: float, slow: float, beside: int
) -> None:
    """On a machine that is never slower than predicted."""
    policy = controller()
    own = lengths[:1] * beside
    work = work_of([*own, *lengths])
    fastest = policy.latency.predict(work, 0.0)
    fits = fastest.bound_ms(2) <= slack_ms
    alone = controller().decide(work=work, slack_ms=slack_ms, now=0.0)
    first = policy.decide(work=work, slack_ms=slack_ms, now=0.0, ranked=len(lengths))
    assert (first.reason == "fits") == fits == (alone.reason in ("fits", "likely"))
    run_ms = first.predicted_ms * slow
    policy.record(first, run_ms=run_ms, met=None, now=run_ms / 1e3, single=len(lengths) + beside == 1)
    found = policy.decide_again(
        first,
        lengths=lengths,
        beside=own,
        batch=True,
        slack_ms=slack_ms - run_ms,
        run_ms=run_ms,
        now=run_ms / 1e3,
    )
    if not fits:
        assert found is None
        return
    assert first.predicted_ms <= slack_ms
    if found is not None:
        again, count = found
        assert LEAST <= count <= len(lengths)
        assert ACCURACIES[again.name] > ACCURACIES[first.name]
        assert run_ms + again.predicted_ms <= slack_ms
        expected = policy.latency.medians(work_of([*own, *lengths[:count]]))
        assert again.expected_ms == expected[policy.ladder.index(again.name)]
    elif first.name != alone.name:
        assert slow > 0.5 or len(lengths) < 4, "one that was chosen to leave time for a second pass"


def test_without_a_deadline_or_with_a_named_subnet_there_is_one_pass() -> None:
    policy = controller()
    for slack_ms, pinned in ((None, None), (30.0, "middle"), (0.01, None)):
        first = policy.decide(work=work_of([16] * 8), slack_ms=slack_ms, now=0.0, pinned=pinned, ranked=8)
        assert first.reason != "fits"
        again = policy.decide_again(first, lengths=[16] * 8, beside=(), batch=True, slack_ms=1e9, run_ms=1.0, now=0.0)
        assert again is None


def test_padding_counts_in_the_second_pass() -> None:
    """Texts of 10 and 12 tokens run together as two of 12."""
    table = LatencyTable(
        "0" * 64, "fp32", "CPUExecutionProvider", 1, (1, 100),
        {name: (times[0] / 10, times[0] * 10) for name, times in TIMES.items()},
        {name: (times[0] / 10, times[0] * 10) for name, times in TIMES.items()}, 1, "by hand", "2026-01-31",
    )  # fmt: skip
    policy = Controller(ACCURACIES, table)
    lengths = [10, 12] * 8
    first = policy.decide(work=work_of(lengths), slack_ms=60.0, now=0.0, ranked=len(lengths))
    assert first.name == "small"
    for slack_ms in range(1, 100):
        found = policy.decide_again(
            first, lengths=lengths, beside=(), batch=True, slack_ms=float(slack_ms), run_ms=1.0, now=0.01
        )
        assert found is None or found[0].predicted_ms <= slack_ms
