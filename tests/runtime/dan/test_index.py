"""The index from n-gram keys to rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.errors import InputError, IntegrityError
from gearshift.runtime.dan import index as dan_index
from gearshift.runtime.dan.index import NgramIndex, build_index
from gearshift.runtime.dan.ngrams import Keys, keys

WORDS = st.lists(st.text("abcdefgh", min_size=1, max_size=6), min_size=1, max_size=80, unique=True)


def _keys(words: list[str]) -> Keys:
    return keys(" ".join(words), 1)


@given(WORDS, WORDS)
def test_it_finds_what_a_dictionary_finds(known: list[str], others: list[str]) -> None:
    index, row_of = build_index(_keys(known))
    rows = dict(zip(known, row_of.tolist(), strict=True))
    asked = [*known, *others, *known]
    assert index.rows(_keys(asked)).tolist() == [rows[word] for word in asked if word in rows]


@pytest.mark.parametrize("count", [*range(1, 10), 1000, 100_000])
def test_every_key_has_a_row_of_its_own(count: int) -> None:
    known = np.unique(np.random.default_rng(count).integers(0, 2**64, count, dtype=np.uint64))
    index, row_of = build_index(known)
    assert len(set(row_of.tolist())) == count <= len(index.prints) <= count / 0.98 + 1
    np.testing.assert_array_equal(index.rows(known), row_of)


def test_an_unknown_key_is_taken_for_a_known_one_once_in_four_billion() -> None:
    source = np.random.default_rng(0)
    index, _ = build_index(source.integers(0, 2**64, 50_000, dtype=np.uint64))
    assert not len(index.rows(source.integers(0, 2**64, 10**6, dtype=np.uint64)))


def test_no_keys_have_no_rows() -> None:
    index, _ = build_index(np.array([5], np.uint64))
    assert len(index.rows(np.empty(0, np.uint64))) == 0


def test_it_needs_different_keys() -> None:
    with pytest.raises(InputError, match="found none"):
        build_index(np.empty(0, np.uint64))
    with pytest.raises(InputError, match="expected distinct keys, found a duplicate"):
        build_index(np.array([7, 7], np.uint64))


def test_keys_that_found_no_displacement_get_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dan_index, "_MOST", 40)
    known = np.random.default_rng(0).integers(0, 2**64, 300, dtype=np.uint64)
    index, row_of = build_index(known)
    assert len(index.prints) > 300 / 0.98 + 1
    np.testing.assert_array_equal(index.rows(known), row_of)


def test_keys_that_are_not_mixed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dan_index, "_MOST", 40)
    with pytest.raises(InputError, match="could not be placed"):
        build_index(np.random.default_rng(0).integers(0, 2**32, 200, dtype=np.uint64))


@pytest.mark.parametrize(("buckets", "rows"), [(0, 1), (1, 0)])
def test_an_empty_index_is_said(buckets: int, rows: int) -> None:
    with pytest.raises(IntegrityError, match="expected buckets and rows"):
        NgramIndex(np.zeros(buckets, np.uint16), np.zeros(rows, np.uint32))
