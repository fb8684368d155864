"""Tests of simulated days: the ladders that they are played on, and what is kept of a day."""

import dataclasses
import json
import math

import pytest

from benchmarks.serving.days import HINDSIGHT, OURS, Day, digest, play_day, shares_after
from benchmarks.serving.subjects import SUBJECTS, ladder_of
from gearshift.runtime.simulate.policies import POLICIES

SPANS = {
    "snips-fp32": 7,
    "snips-int8": 4,
    "sst2-fp32": 7,
    "squad-int8": 6,
    "trec-dan-int8": 30,
    "sick-mpnet-int8": 9,
    "squad-pi4-int8": 6,
    "sick-mpnet-pi5-int8": 12,
}
"""Subject -> least ratio of the times of its slowest and its fastest rung at 64 tokens."""


@pytest.mark.parametrize("subject", list(SUBJECTS))
def test_a_ladder_falls_in_accuracy_and_in_time_and_is_as_wide_as_its_model_is_told_to_be(subject: str) -> None:
    ladder = ladder_of(subject)
    times = ladder.costs(64)
    assert list(ladder.accuracies) == sorted(ladder.accuracies, reverse=True)
    assert times[0] / times[-1] >= SPANS[subject]
    assert ladder.dan == ("dan" if subject == "trec-dan-int8" else None)
    assert all(0 < accuracy < 1 for accuracy in ladder.reported)


def test_a_day_is_played_by_every_policy_and_read_again_as_it_was_written() -> None:
    day = play_day("trec-dan-int8", "idle-hogs", 1, {})
    assert set(day.outcomes) == {*POLICIES, *HINDSIGHT}
    assert sum(count for count, *_ in day.states.values()) == day.requests == 100
    met, goodput, _, _ = day.outcomes[OURS]
    assert 0 < goodput < met <= 1
    read = Day(**json.loads(json.dumps(vars(day))))
    assert dataclasses.replace(read, outcomes={}) == dataclasses.replace(day, outcomes={})


def test_days_of_other_settings_are_others() -> None:
    assert digest({}) == digest({}) != digest({"alert": {"queue": True}})


def test_coverage_is_counted_by_windows_after_each_step() -> None:
    first, second, *rest = shares_after(["1" * 99 + "0" + "1" * 50, "1" * 100])
    assert [first, second] == pytest.approx([0.995, 1])
    assert all(math.isnan(share) for share in rest)
