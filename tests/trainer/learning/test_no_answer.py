"""The threshold of no answer, and the metrics of SQuAD 2.0, against those of transformers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tokenizers import Encoding
from transformers.data.metrics.squad_metrics import compute_predictions_logits, squad_evaluate

from gearshift.runtime.inference.spans import LONGEST_ANSWER, find_answer
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.data.rows import Row, Span
from gearshift.trainer.learning.metrics import (
    Array,
    answer_f1,
    exact_match,
    has_answer_exact_match,
    has_answer_f1,
    no_answer_accuracy,
)
from gearshift.trainer.learning.no_answer import DEFAULT, best_threshold, with_threshold
from tests.runtime.inference.test_spans import tokenizer

TASK = "question-answering"
WORDS = ("white", "snow", "fell", "ice", "age")


def questions(seed: int, count: int = 40, kinds: tuple[bool, ...] = (True, False)) -> tuple[list[Array], EncodedRows]:
    """Random contexts and logits; the first token is `[CLS]`, and each other is a word."""
    source = np.random.default_rng(seed)
    rows, places, outputs = [], [], []
    for number in range(count):
        words = [str(source.choice(WORDS)) for _ in range(4)]
        ends = np.cumsum([len(word) + 1 for word in words]) - 1
        spans = [(int(end) - len(word), int(end)) for word, end in zip(words, ends, strict=True)]
        right = sorted(source.choice(4, size=2, replace=False))
        answers = tuple(Span(spans[place][0], words[place]) for place in right)
        rows.append(Row("q", " ".join(words), answers if kinds[number % len(kinds)] else ()))
        places.append(np.array([(-1, -1), *spans], np.int32))
        logits = source.normal(0, 1, (5, 2))
        logits[0] += 0.7 if not rows[-1].label else -0.7
        outputs.append(logits.astype(np.float32))
    ids, types = (np.zeros(5, np.int32),) * count, (np.zeros(5, np.int8),) * count
    encoded = EncodedRows(ids, types, np.zeros((count, 2)), 0, 0, 0, TASK, (), tuple(rows), tuple(places))
    return outputs, encoded


def theirs(outputs: list[Array], rows: EncodedRows, threshold: float) -> dict[str, float]:
    """Measurements by transformers of our answers before the threshold, with the difference as their score of none."""
    examples, answers, scores = [], {}, {}
    for number, (output, row, places) in enumerate(zip(outputs, rows.rows, rows.places, strict=True)):
        assert isinstance(row.label, tuple) and row.pair is not None
        examples.append(SimpleNamespace(qas_id=number, answers=[{"text": span.text} for span in row.label]))
        placed = SimpleNamespace(sequence_ids=[None, 1, 1, 1, 1], offsets=[tuple(map(int, place)) for place in places])
        found = find_answer(output, placed, np.inf)
        assert found.null_score_diff is not None
        answers[number], scores[number] = row.pair[found.start : found.end], found.null_score_diff
    evaluated: dict[str, float] = squad_evaluate(examples, answers, scores, threshold)
    return evaluated


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_those_of_squad_2(seed: int, threshold: float) -> None:
    outputs, rows = questions(seed)
    expected = theirs(outputs, rows, threshold)
    rows = with_threshold(rows, threshold)
    ours = {
        "f1": answer_f1,
        "exact": exact_match,
        "HasAns_f1": has_answer_f1,
        "HasAns_exact": has_answer_exact_match,
        "NoAns_f1": no_answer_accuracy,
        "NoAns_exact": no_answer_accuracy,
    }
    found = {name: 100 * metric(outputs, rows) for name, metric in ours.items()}
    assert found == pytest.approx({name: expected[name] for name in ours})


@pytest.mark.parametrize("seed", range(8))
def test_no_other_threshold_has_a_better_f1(seed: int) -> None:
    outputs, rows = questions(seed)
    chosen = answer_f1(outputs, with_threshold(rows, best_threshold(outputs, rows)))
    assert 100 * chosen == pytest.approx(theirs(outputs, rows, 0)["best_f1"])
    assert chosen >= max(answer_f1(outputs, with_threshold(rows, at)) for at in np.linspace(-6, 6, 61)) > 0.5


@pytest.mark.parametrize(("scores", "expected"), [((-3.0, 5.0), 1.0), ((1.0, 2.0), 1.5)])
def test_of_equally_good_thresholds_the_farthest_from_any_row_is_chosen(
    scores: tuple[float, float], expected: float
) -> None:
    outputs, rows = questions(0, 2)
    row = rows.rows[0]
    assert isinstance(row.label, tuple)
    first = [start for start, _ in rows.places[0]].index(row.label[0].start)  # so that the answer is right
    for output, score, place in zip(outputs, scores, (first, 1), strict=True):
        output[:] = -20
        output[place], output[0] = 0, score / 2
    assert best_threshold(outputs, rows) == pytest.approx(expected)


@pytest.mark.parametrize("kinds", [(True,), (False,)])
def test_rows_of_one_kind_choose_no_threshold(kinds: tuple[bool, ...]) -> None:
    assert best_threshold(*questions(0, kinds=kinds)) == DEFAULT


def test_a_net_that_always_answers_is_wrong_on_questions_without_an_answer() -> None:
    outputs, rows = questions(1)
    outputs = [output + np.array([[1e3]] + [[0]] * 4, np.float32) for output in outputs]  # none is far likelier
    assert rows.null_threshold is None and no_answer_accuracy(outputs, rows) == 0
    assert 0 < has_answer_f1(outputs, rows) == pytest.approx(2 * answer_f1(outputs, rows))
    silent = with_threshold(rows, 0.0)
    assert no_answer_accuracy(outputs, silent) == 1
    assert answer_f1(outputs, silent) == 0.5
    assert np.isnan(has_answer_f1(*questions(1, kinds=(True,))))


def test_an_article_is_an_answer_and_no_answer_is_not_an_article() -> None:
    places = np.array([(-1, -1), (0, 3), (4, 8)], np.int32)
    rows = (Row("q", "the snow", ()), Row("q", "the snow", (Span(0, "the"), Span(4, "snow"))))
    ids, types = (np.zeros(3, np.int32),) * 2, (np.zeros(3, np.int8),) * 2
    encoded = EncodedRows(ids, types, np.zeros((2, 2)), 0, 0, 0, TASK, (), rows, (places,) * 2, null_threshold=0.0)
    given, silent = np.zeros((2, 3, 2), np.float32)
    given[1], silent[0] = 9, 9
    assert answer_f1([given, given], encoded) == answer_f1([given, silent], encoded) == 0
    assert answer_f1([silent, silent], encoded) == no_answer_accuracy([silent, given], encoded) / 2 == 0.5


def decided_by_transformers(logits: np.ndarray, encoding: Encoding, threshold: float, folder: Path) -> str:
    """The answer of transformers' own evaluation on SQuAD 2.0 to logits, "" for none."""
    places = [token for token, sequence in enumerate(encoding.sequence_ids) if sequence == 1]
    feature = SimpleNamespace(
        example_index=0,
        unique_id=1,
        tokens=encoding.tokens,
        token_to_orig_map={token: number for number, token in enumerate(places)},
        token_is_max_context=dict.fromkeys(places, True),
    )
    example = SimpleNamespace(qas_id="q", doc_tokens=[encoding.tokens[token] for token in places])
    result = SimpleNamespace(unique_id=1, start_logits=logits[:, 0].tolist(), end_logits=logits[:, 1].tolist())
    files = [str(folder / name) for name in ("predictions", "nbest", "null")]
    joined = SimpleNamespace(convert_tokens_to_string=" ".join)
    found = compute_predictions_logits(
        [example], [feature], [result], 100, LONGEST_ANSWER, True, *files, False, True, threshold, joined
    )  # fmt: skip
    return str(found["q"])


@pytest.mark.parametrize("threshold", [-2.5, 0.0, 2.5])
@pytest.mark.parametrize("seed", range(6))
def test_whether_there_is_an_answer_is_decided_as_transformers_does(
    seed: int, threshold: float, tmp_path: Path
) -> None:
    text = " ".join("abc"[n % 3] for n in range(40))
    encoding = tokenizer().encode("who is", text)
    logits = np.random.default_rng(seed).normal(0, 2, (len(encoding.ids), 2)).astype(np.float32)
    logits[0] = 3.5, 3.0 + seed % 3  # near the best answer's
    found = find_answer(logits, encoding, threshold)
    assert text[found.start : found.end] == decided_by_transformers(logits, encoding, threshold, tmp_path)
    assert found.answerable == (found.end > 0)
    assert found.null_score_diff is not None and (found.null_score_diff <= threshold) == found.answerable
