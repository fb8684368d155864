"""Words, entities and answers, placed in the text that they come from."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tokenizers import Encoding, Tokenizer, models, normalizers, pre_tokenizers, processors

from gearshift.runtime.bundle.tag_schemes import recognise
from gearshift.runtime.inference.spans import LONGEST_ANSWER, Word, best_span, entities, find_answer, first_tokens

WORDS = ["[CLS]", "[SEP]", "[UNK]", "new", "york", "##er", "is", "in", "paris", "who", "a", "b", "c"]


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    return made


def byte_level(text: str) -> Encoding:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    return made.encode(text)


def test_a_word_of_several_tokens_is_one_word_at_its_first_token() -> None:
    text = "New  Yorker is in Paris"
    found = list(first_tokens(tokenizer().encode(text), text))
    assert found == [(1, "New", 0, 3), (2, "Yorker", 5, 11), (4, "is", 12, 14), (5, "in", 15, 17), (6, "Paris", 18, 23)]


def test_a_blank_before_a_word_is_not_part_of_it() -> None:
    text = "in Paris"
    found = list(first_tokens(byte_level(text), text))
    assert [word[1:] for word in found] == [("in", 0, 2), ("Paris", 3, 8)]


def test_the_second_text_of_a_pair_has_no_words_of_the_first() -> None:
    assert [word for _, word, *_ in first_tokens(tokenizer().encode("who is", "paris"), "who is")] == ["who", "is"]


def words(labels: list[str]) -> tuple[list[Word], str]:
    text = " ".join("abcdefgh"[: len(labels)])
    return [Word(text[2 * n], 2 * n, 2 * n + 1, label, 0.5 + n / 10) for n, label in enumerate(labels)], text


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["O", "O"], []),
        (["B-x", "I-x", "O"], [("a b", "x")]),
        (["B-x", "B-x"], [("a", "x"), ("b", "x")]),
        (["B-x", "I-y"], [("a", "x"), ("b", "y")]),
        (["O", "I-x", "I-x"], [("b c", "x")]),
        (["I-x", "B-x", "I-x", "O", "I-x"], [("a", "x"), ("b c", "x"), ("e", "x")]),
        (["B-x", "E-x", "S-x", "B-x", "I-x", "E-x"], [("a b", "x"), ("c", "x"), ("d e f", "x")]),
        (["B-x", "L-x", "U-y", "U-y"], [("a b", "x"), ("c", "y"), ("d", "y")]),
        (["x", "x", "y", "O", "y"], [("a b", "x"), ("c", "y"), ("e", "y")]),
        ([], []),
    ],
    ids=str,
)
def test_words_make_up_entities(labels: list[str], expected: list[tuple[str, str]]) -> None:
    listed, text = words(labels)
    found = list(entities(listed, text, recognise(labels)))
    assert [(entity.text, entity.label) for entity in found] == expected
    assert all(text[entity.start : entity.end] == entity.text for entity in found)


def test_the_score_of_an_entity_is_the_mean_of_its_words() -> None:
    labels = ["B-x", "I-x", "I-x"]
    (entity,) = entities(*words(labels), recognise(labels))
    assert entity.score == pytest.approx(0.6)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_span_is_the_one_that_trying_all_finds(seed: int) -> None:
    text = " ".join("abc"[n % 3] for n in range(45))
    encoding = tokenizer().encode("who is", text)
    logits = np.random.default_rng(seed).normal(0, 2, (len(encoding.ids), 2)).astype(np.float32)
    logits[[0, 1, 3]] = 50  # the special tokens and the question, which must not matter
    places = [token for token, sequence in enumerate(encoding.sequence_ids) if sequence == 1]
    odds = np.exp(logits[places].astype(np.float64))
    odds /= odds.sum(0)
    scored = [
        (odds[i, 0] * odds[j, 1], i, j)
        for i, j in itertools.combinations_with_replacement(range(len(places)), 2)
        if j - i < LONGEST_ANSWER
    ]
    score, first, last = max(scored)
    start, end, found = best_span(logits, encoding)
    assert (start, end) == (2 * first, 2 * last + 1)
    assert found == pytest.approx(score)


def test_a_pair_without_a_second_text_left_has_no_answer() -> None:
    encoding = tokenizer().encode("who is")
    assert best_span(np.zeros((len(encoding.ids), 2), np.float32), encoding) == (0, 0, 0.0)


def test_probabilities_are_over_no_answer_too() -> None:
    encoding = tokenizer().encode("who", "a b")
    logits = np.log(np.array([[5, 1], [9, 9], [9, 9], [4, 1], [1, 8], [9, 9]], np.float32))
    found, none = (find_answer(logits, encoding, threshold) for threshold in (np.inf, -np.inf))
    assert (found.start, found.end, none.start, none.end) == (0, 3, 0, 0)
    assert (found.score, none.score) == pytest.approx((0.4 * 0.8, 0.5 * 0.1))
    assert found.null_score_diff == none.null_score_diff == pytest.approx(np.log(5 / 32))


@pytest.mark.parametrize("threshold", [None, 0.0, np.inf])
def test_a_context_without_tokens_has_no_answer_whatever_the_threshold(threshold: float | None) -> None:
    encoding = tokenizer().encode("who is")
    found = find_answer(np.zeros((len(encoding.ids), 2), np.float32), encoding, threshold)
    assert (found.start, found.end, found.answerable, found.null_score_diff) == (0, 0, False, None)


def test_without_a_threshold_the_first_token_does_not_matter() -> None:
    encoding = tokenizer().encode("who", "a b")
    logits = np.zeros((len(encoding.ids), 2), np.float32)
    logits[0], logits[3] = 50, 1
    found = find_answer(logits, encoding)
    assert (found.start, found.end, found.score) == best_span(logits, encoding)
    assert found.answerable and found.null_score_diff is None
