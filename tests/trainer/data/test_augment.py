"""Copies of rows with words replaced."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from gearshift.trainer.data.augment import CANDIDATES, augment, near_words
from gearshift.trainer.data.rows import Row, Span, Tags
from gearshift.trainer.model.checkpoint import load_checkpoint
from tests.trainer.tiny import FILLERS, KEYWORDS, make_rows

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def shout(word: str, text: str, place: int) -> Sequence[str]:
    """Every word may become itself and two letters more."""
    assert text[place : place + len(word)] == word
    return (f"{word}xx",)


def copies(row: Row, share: float = 1.0, count: int = 1, seed: int = 0) -> list[Row]:
    return augment([row], shout, copies=count, seed=seed, share=share)


def test_words_are_replaced_and_what_is_no_word_stays() -> None:
    row = Row("Snow fell, on 12 roads (they're icy) of the north: see http://snow.example/a @snow don't", None, "cold")
    (copy,) = copies(row)
    assert copy.text == (
        "Snowxx fellxx, on 12 roadsxx (they're icyxx) of the northxx: see http://snow.example/a @snow don't"
    )
    assert copy.label == "cold"


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.4, 340, 460), (1.0, 1000, 1000)])
def test_a_word_is_replaced_with_the_probability_asked_for(share: float, low: int, high: int) -> None:
    made = copies(Row("snow " * 1000, None, "cold"), share)[0].text
    assert low <= made.count("snowxx") <= high


def test_both_texts_of_a_pair_change() -> None:
    (copy,) = copies(Row("snow fell", "winter came", "cold"))
    assert (copy.text, copy.pair) == ("snowxx fellxx", "winterxx camexx")


def test_tags_stay_with_their_words() -> None:
    row = Row("yesterday snow fell", None, Tags((0, 10, 15), ("O", "B-cold", "O")))
    (copy,) = copies(row)
    assert copy.text == "yesterdayxx snowxx fellxx"
    assert copy.label == Tags((0, 12, 19), ("O", "B-cold", "O"))


def test_answers_stay_and_are_where_the_row_says() -> None:
    context = "yesterday white snow fell here"
    row = Row("what fell", context, (Span(10, "white snow"), Span(16, "snow")))
    (copy,) = copies(row)
    assert copy.pair == "yesterdayxx white snow fellxx here"
    assert copy.label == (Span(12, "white snow"), Span(18, "snow"))


@given(st.lists(st.text(LETTERS, min_size=1, max_size=8), min_size=1, max_size=12), st.integers(0, 50), st.data())
def test_places_hold_the_same_words_after_any_replacement(words: list[str], seed: int, data: st.DataObject) -> None:
    text = " ".join(words)
    starts = [sum(len(word) + 1 for word in words[:number]) for number in range(len(words))]
    answer = data.draw(st.integers(0, len(words) - 1))
    tagged = Row(text, None, Tags(tuple(starts), tuple("O" for _ in words)))
    asked = Row("what", text, (Span(starts[answer], words[answer]),))
    one, other = augment([tagged, asked], shout, copies=1, seed=seed)
    assert isinstance(one.label, Tags) and isinstance(other.label, tuple) and other.pair is not None
    pieces = one.text.split(" ")
    assert [one.text[start:].split(" ")[0] for start in one.label.starts] == pieces
    assert all(piece in (word, f"{word}xx") for word, piece in zip(words, pieces, strict=True))
    (span,) = other.label
    assert other.pair[span.start : span.start + len(span.text)] == span.text == words[answer]


def test_the_same_seed_gives_the_same_copies_and_another_others() -> None:
    rows = make_rows(20)
    first, again, other = (augment(rows, shout, copies=3, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == 60
    assert first[:20] != first[20:40]
    assert augment(rows, shout, copies=1, seed=0) == first[:20]


# Neighbours in a word table


def test_the_nearest_words_are_those_of_the_smallest_angle(checkpoint_path: Path) -> None:
    tokenizer = load_checkpoint(checkpoint_path, ("cold", "hot")).tokenizer
    table = torch.randn(tokenizer.get_vocab_size(), 8, generator=torch.Generator().manual_seed(0))
    for group in KEYWORDS.values():  # words of one kind lie along one direction, at any length
        direction = torch.randn(8, generator=torch.Generator().manual_seed(sum(map(ord, group[0]))))
        for number, word in enumerate(group):
            table[tokenizer.token_to_id(word)] = direction * (1 + 5 * number)
    rows = make_rows(60)
    near = near_words(rows, tokenizer, table)
    for group in KEYWORDS.values():
        for word in set(group) - ENGLISH_STOP_WORDS & {word for row in rows for word in row.text.split()}:
            others = [other for other in group if other != word and len(other) > 2]
            assert set(near(word, word, 0)[: len(others)]) == set(others)
    assert near("unheard", "unheard", 0) == ()
    assert len(near("snow", "snow", 0)) == CANDIDATES
    known = {*FILLERS, *(word for group in KEYWORDS.values() for word in group)}
    made = augment(rows, near, copies=2, seed=0)
    assert any(copy.text != row.text for copy, row in zip(made, rows, strict=False))
    assert {word for copy in made for word in copy.text.split()} <= known


def test_a_capital_letter_is_kept() -> None:
    (copy,) = augment([Row("Snow fell", None, "cold")], lambda *_: ("ice",), copies=1, seed=0, share=1.0)
    assert copy.text == "Ice ice"


def test_every_candidate_has_its_turn() -> None:
    candidates = ("ice", "frost", "hail")
    random.seed(0)  # what others draw changes nothing
    made = augment([Row("snow " * 300, None, "cold")], lambda *_: candidates, copies=1, seed=0, share=1.0)[0]
    assert {word: made.text.count(word) for word in candidates} == pytest.approx(dict.fromkeys(candidates, 100), abs=30)
