"""Tests that every rival of the simulator is at its best: its grid brackets the settings that it runs with."""

from __future__ import annotations

import json

import pytest

from benchmarks.serving.policies import TUNED
from benchmarks.serving.tuning import GRIDS, LIMITS, unbracketed

SETTINGS = json.loads(TUNED.read_text())


@pytest.mark.parametrize("policy", list(GRIDS))
def test_the_best_lies_inside_the_grid_or_at_an_end_beyond_which_nothing_differs(policy: str) -> None:
    assert list(SETTINGS[policy]) == list(GRIDS[policy])
    assert unbracketed(policy, SETTINGS[policy]) == []


@pytest.mark.parametrize("policy", list(GRIDS))
def test_an_end_of_a_grid_is_noticed(policy: str) -> None:
    grid = GRIDS[policy]
    for end in (0, -1):
        found = unbracketed(policy, {name: values[end] for name, values in grid.items()})
        assert found == [name for name in grid if name != "queue" and (policy, name) not in LIMITS]


def test_every_setting_is_tuned_and_its_grid_rises() -> None:
    assert set(SETTINGS) == set(GRIDS)
    assert all(list(values) == sorted(set(values)) for grid in GRIDS.values() for values in grid.values())
    assert all(name in GRIDS[policy] for policy, name in LIMITS)
