"""Tests of other work on the machine: which states come, and when."""

import collections
import itertools

from benchmarks.device.contention import CROWDED, STATES, random_spells, state_at


def test_every_state_comes_before_any_comes_again_and_none_twice_in_a_row() -> None:
    states = (*STATES, CROWDED)
    spells = random_spells(1000.0, seed=1, longest_s=10.0, states=states)
    order = [spell.state for spell in spells]
    assert order[0] == "free" and all(a != b for a, b in itertools.pairwise(order))
    for place in range(0, len(order) - len(states), len(states)):
        assert {*order[place : place + len(states)]} == {*states}
    counts = collections.Counter(order)
    assert max(counts.values()) - min(counts.values()) <= 1
    lengths = [b.start_s - a.start_s for a, b in itertools.pairwise(spells)]
    assert min(lengths) >= 1.0 and max(lengths) <= 10.0
    assert spells == random_spells(1000.0, seed=1, longest_s=10.0, states=states)


def test_the_state_is_that_of_the_last_spell_that_has_begun() -> None:
    spells = random_spells(100.0, seed=2)
    assert state_at(spells, 0.0) == "free"
    assert all(state_at(spells, spell.start_s) == spell.state for spell in spells)
