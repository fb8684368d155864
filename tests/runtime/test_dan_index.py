"""The index from n-gram keys to rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.dan_index import NgramIndex, build_index
from gearshift.runtime.errors import InputError, IntegrityError

KEYS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60, unique=True)


@given(KEYS, st.lists(st.integers(0, 2**64 - 1), max_size=20), st.randoms())
def test_it_finds_what_a_dictionary_finds(known: list[int], others: list[int], source: object) -> None:
    index, order = build_index(np.array(known, np.uint64))
    row_of = {known[place]: row for row, place in enumerate(order.tolist())}
    asked = [*known, *others, *known]
    found = index.rows(np.array(asked, np.uint64))
    # A lower half that is equal by chance within a bucket is the one allowed mistake: hypothesis likes small numbers.
    if len({key & 0xFFFFFFFF for key in asked}) == len(set(asked)):
        assert found.tolist() == [row_of[key] for key in asked if key in row_of]


def test_the_last_row_is_found_once() -> None:
    index, order = build_index(np.array([1, 2, 3, 2**64 - 1], np.uint64))
    assert order[index.rows(np.array([2**64 - 1], np.uint64))].tolist() == [3]


@pytest.mark.parametrize("count", [1, 2, 3, 1000, 100_000])
def test_every_key_of_a_table_is_found_in_order(count: int) -> None:
    known = np.unique(np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64))
    index, _ = build_index(known)
    assert index.rows(known).tolist() == list(range(len(known)))


def test_no_keys_have_no_rows() -> None:
    index, _ = build_index(np.array([5], np.uint64))
    assert len(index.rows(np.empty(0, np.uint64))) == 0


def test_it_needs_different_keys() -> None:
    with pytest.raises(InputError, match="found none"):
        build_index(np.empty(0, np.uint64))
    with pytest.raises(InputError, match="twice"):
        build_index(np.array([7, 7], np.uint64))


@pytest.mark.parametrize("starts", [[0, 2, 1, 3, 4], [1, 2, 3, 4, 4], [0, 1, 2, 3, 5], [0, 2, 4, 4], [4]])
def test_a_corrupt_index_is_said(starts: list[int]) -> None:
    with pytest.raises(IntegrityError, match="rising starts"):
        NgramIndex(np.zeros(4, np.uint32), np.array(starts, np.uint32))
