"""Tests of the rows of live streams, and of the scores of answers to them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving.live_rows import Labelled, f1, read_rows
from gearshift.errors import InputError
from gearshift.runtime import Classification, Entity, MultiLabelClassification, QuestionAnswering, TokenClassification
from gearshift.runtime.bundle.bundle import Bundle

FACTS: dict[str, Any] = {
    "subnet": "w100-d100",
    "reason": "fits",
    "latency_ms": 1.0,
    "predicted_ms": 1.0,
    "deadline_ms": 10.0,
    "deadline_met": True,
    "tokens": 3,
    "truncated": False,
}


def of_task(bundle: Bundle, task: str, *labels: str) -> Bundle:
    return dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, task=task, labels=labels))


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    for split in ("train", "dev", "test"):
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def only(rows: list[Labelled]) -> Labelled:
    (one,) = rows
    return one


def test_a_label_is_right_or_wrong(bundle: Bundle, tmp_path: Path) -> None:
    data = write(tmp_path, [{"sentence": "a b", "sentence2": "c", "label": label} for label in ("yes", "no")])
    rows = read_rows(data, of_task(bundle, "classification", "no", "yes"))
    assert [row.text for row in rows] == [("a b", "c")] * 2
    answers = [Classification(label=label, score=1.0, scores={}, **FACTS) for label in ("yes", "no")]
    assert sorted([row.score(answer) for answer in answers] for row in rows) == [[0, 1], [1, 0]]


def test_an_answer_to_a_question_scores_by_its_words(bundle: Bundle, tmp_path: Path) -> None:
    context = "much old ice was there"
    answers = [{"text": text, "answer_start": context.index(text)} for text in ("much old ice", "old ice")]
    data = write(tmp_path, [{"question": "what was there", "context": context, "answers": answers}])
    row = only(read_rows(data, of_task(bundle, "question-answering")))
    assert row.text == ("what was there", context)

    def score(answer: str, *, answerable: bool = True) -> float:
        return row.score(QuestionAnswering(answer=answer, start=0, end=0, score=1.0, answerable=answerable, **FACTS))

    assert score("the old ice") == 1  # articles do not count
    assert score("ice") == pytest.approx(2 / 3)  # of "old ice": precision 1, recall 1/2
    assert score("there") == 0
    assert score("old ice", answerable=False) == 0


def test_entities_score_by_text_with_one_for_rightly_nothing(bundle: Bundle, tmp_path: Path) -> None:
    rows = [
        {"tokens": ["Anna", "Lee", "met", "Bo"], "ner_tags": ["B-person", "I-person", "O", "B-person"]},
        {"tokens": ["nobody", "came"], "ner_tags": ["O", "O"]},
    ]
    labels = ("B-person", "I-person", "O")
    found = {
        row.text: row for row in read_rows(write(tmp_path, rows), of_task(bundle, "token-classification", *labels))
    }

    def score(text: str, *places: tuple[int, int]) -> float:
        entities = tuple(Entity(text[start:end], start, end, "person", 1.0) for start, end in places)
        return found[text].score(TokenClassification(words=(), entities=entities, **FACTS))

    assert score("Anna Lee met Bo", (0, 8), (13, 15)) == 1
    assert score("Anna Lee met Bo", (0, 4), (13, 15)) == 0.5  # half of what was found, half of what is there
    assert score("Anna Lee met Bo") == 0
    assert score("nobody came") == 1
    assert score("nobody came", (0, 6)) == 0


def test_several_labels_score_by_text(bundle: Bundle, tmp_path: Path) -> None:
    data = write(tmp_path, [{"sentence": "a", "labels": ["x", "y"]}])
    row = only(read_rows(data, of_task(bundle, "multi-label-classification", "x", "y")))
    assert row.score(MultiLabelClassification(labels=("x",), scores={}, **FACTS)) == pytest.approx(2 / 3)


def test_f1_of_nothing_is_one_where_nothing_is_right() -> None:
    assert [f1(set(), set()), f1({1}, set()), f1(set(), {1}), f1({1, 2}, {2, 3})] == [1, 0, 0, 0.5]


def test_rows_are_of_the_bundles_task_and_labels(bundle: Bundle, tmp_path: Path) -> None:
    data = write(tmp_path, [{"sentence": "a", "label": 1.5}])
    with pytest.raises(InputError, match=r"expected one head and a task of classification, .*got regression"):
        read_rows(data, of_task(bundle, "regression"))
    write(tmp_path, [{"sentence": "a", "label": label} for label in ("yes", "no")])
    with pytest.raises(InputError, match=r"expected the labels of tiny\.gearshift, no, perhaps; got no, yes"):
        read_rows(data, of_task(bundle, "classification", "no", "perhaps"))
