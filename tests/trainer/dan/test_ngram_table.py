"""The n-grams that a table holds."""

from __future__ import annotations

from collections import Counter

import pytest

from gearshift.errors import DataError
from gearshift.runtime.dan.ngrams import keys
from gearshift.trainer.dan import ngram_table as vocabulary
from gearshift.trainer.dan.ngram_table import most_frequent

TEXTS = ["a film of wit", "a film", "a dull day of a dull film", ""]


def _counted() -> list[int]:
    counts = Counter(key for text in TEXTS for key in keys(text, 3).tolist())
    return sorted(counts, key=lambda key: (-counts[key], key))


@pytest.mark.parametrize("at_once", [1, 10, 10**6])
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_it_is_what_a_dictionary_counts(monkeypatch: pytest.MonkeyPatch, at_once: int, size: int) -> None:
    monkeypatch.setattr(vocabulary, "_AT_ONCE", at_once)
    assert most_frequent(TEXTS, longest=3, size=size).tolist() == _counted()[:size]


def test_frequent_ngrams_survive_a_small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "_AT_ONCE", 1)
    found = most_frequent(["so so"] * 3 + ["other words here"], longest=1, size=9, most_distinct=2)
    assert found.tolist() == keys("so", 1).tolist()


def test_texts_without_words_are_refused() -> None:
    with pytest.raises(DataError, match="found none"):
        most_frequent(["", " "], longest=2, size=5)
