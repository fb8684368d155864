"""Texts of like length run together, and every text runs once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.batches import MOST_PADDING, MOST_TOKENS, group, is_single, one, work_of

lists_of_lengths = st.lists(st.integers(1, 512), max_size=200)


@given(lists_of_lengths)
def test_every_text_is_in_one_group(lengths: list[int]) -> None:
    assert sorted(row for rows in group(lengths) for row in rows) == list(range(len(lengths)))


@given(lists_of_lengths)
def test_no_group_pads_or_holds_more_than_it_may(lengths: list[int]) -> None:
    for rows in group(lengths):
        longest = max(lengths[row] for row in rows)
        assert sum(lengths[row] for row in rows) >= (1 - MOST_PADDING) * longest * len(rows)
        assert longest * len(rows) <= max(MOST_TOKENS, longest)


@given(lists_of_lengths)
def test_the_work_is_that_of_the_groups(lengths: list[int]) -> None:
    work = work_of(lengths)
    assert sum(count for _, count in work) == len(lengths)
    assert [length for length, _ in work] == sorted(length for length, _ in work)


def test_equal_texts_run_at_once_and_very_different_ones_apart() -> None:
    assert group([7] * 20) == (tuple(range(20)),)
    assert group([100, 10, 12, 90]) == ((1, 2), (3, 0))
    assert work_of([100, 10, 12, 90]) == ((12, 2), (100, 2))


@given(lists_of_lengths)
def test_without_batches_each_text_is_a_call_of_its_own_in_its_place(lengths: list[int]) -> None:
    assert group(lengths, batch=False) == tuple((row,) for row in range(len(lengths)))
    assert work_of(lengths, batch=False) == tuple((length, 1) for length in lengths)


def test_a_single_text_is_known_as_one() -> None:
    assert is_single(one(9))
    assert is_single(work_of([9]))
    assert not is_single(work_of([9, 9]))
    assert not is_single(work_of([9, 90]))
