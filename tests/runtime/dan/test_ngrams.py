"""n-grams of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.dan.ngrams import LONGEST, keys, words


def test_words_are_lower_case_and_punctuation_stands_alone() -> None:
    assert words("It's GOOD, été!") == ["it", "'", "s", "good", ",", "été", "!"]


def test_ideographs_are_words_of_their_own() -> None:
    assert words("好电影 ok") == ["好", "电", "影", "ok"]


@pytest.mark.parametrize("longest", range(1, LONGEST + 1))
@pytest.mark.parametrize("count", range(6))
def test_a_text_has_one_key_for_each_place_and_length(longest: int, count: int) -> None:
    text = " ".join(f"w{number}" for number in range(count))
    expected = sum(max(0, count - length + 1) for length in range(1, longest + 1))
    assert len(keys(text, longest)) == len(set(keys(text, longest).tolist())) == expected


def test_the_key_of_an_ngram_does_not_depend_on_what_stands_around_it() -> None:
    inside = set(keys("one two three four five", 4).tolist())
    assert set(keys("two three four", 3).tolist()) <= inside
    assert not set(keys("three two", 2).tolist()[2:]) & inside


def test_repeats_are_kept() -> None:
    found = keys("so so so", 2).tolist()
    assert found == [found[0]] * 3 + [found[3]] * 2


def test_keys_never_change() -> None:
    """A bundle on a device was made with these."""
    assert keys("a film", 2).tolist() == [8921039335383192321, 4812344853273834118, 13841251661717754667]


@given(st.text(st.characters(codec=None)))
def test_any_text_has_keys(text: str) -> None:
    assert len(keys(text, 1)) == len(words(text))


@given(st.text("ab_9é ,.!\n\t\x1f\x00'好", max_size=40))
def test_every_word_is_hashed_by_itself(text: str) -> None:
    alone = [keys(word, 1).tolist() for word in words(text)]
    assert keys(text, 1).tolist() == [key for found in alone for key in found]


@pytest.mark.parametrize("blank", [" ", "\n", "\t"])
def test_a_long_text_is_hashed_in_pieces(blank: str) -> None:
    text = blank.join(f"word{number}" for number in range(9000))
    expected = [keys(word, 1)[0] for word in text.split()]
    assert keys(text, 1).tolist() == expected and len(set(expected)) == 9000


def test_a_word_longer_than_a_piece_is_cut() -> None:
    assert 2 <= len(keys("a" * 20_000, 1)) <= 4
