from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from gearshift.runtime.inference.answers import (
    Classification,
    MultiLabelClassification,
    RunFacts,
    probabilities,
    read_answer,
)

ENCODING = Tokenizer(models.WordLevel({"text": 0}, unk_token="text")).encode("text")
FACTS = RunFacts(
    subnet="w050-d100",
    reason="fits",
    latency_ms=3.5,
    predicted_ms=4.0,
    deadline_ms=10.0,
    deadline_met=True,
    tokens=6,
    truncated=False,
)


def test_probabilities_are_the_softmax_of_each_row() -> None:
    logits = np.array([[0.0, np.log(3.0)], [5.0, 5.0]], dtype=np.float32)
    assert probabilities(logits) == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[3e38, -3e38, 0.0]], dtype=np.float32)
    assert probabilities(logits).tolist() == [[1.0, 0.0, 0.0]]


def test_the_answer_is_the_most_probable_label_with_the_facts_of_the_run() -> None:
    logits = np.log(np.array([0.125, 0.5, 0.375], np.float32))
    answer = read_answer("classification", logits, ENCODING, ("text",), ("a", "b", "c"))(**vars(FACTS))
    assert isinstance(answer, Classification)
    assert answer.label == "b"
    assert answer.score == pytest.approx(0.5)
    assert answer.scores == pytest.approx({"a": 0.125, "b": 0.5, "c": 0.375})
    for name, value in vars(FACTS).items():
        assert getattr(answer, name) == value


def test_of_several_labels_those_of_a_probability_of_a_half_are_given_the_likeliest_first() -> None:
    logits = np.array([-1.0, 0.0, 3.0, -800.0, 800.0], np.float32)
    labels = ("a", "b", "c", "d", "e")
    answer = read_answer("multi-label-classification", logits, ENCODING, ("text",), labels)(**vars(FACTS))
    assert isinstance(answer, MultiLabelClassification)
    assert answer.labels == ("e", "c", "b")
    assert answer.scores == pytest.approx({"a": 0.268941, "b": 0.5, "c": 0.952574, "d": 0.0, "e": 1.0}, abs=1e-6)


def test_labels_and_logits_must_agree_in_number() -> None:
    with pytest.raises(ValueError, match="shorter"):
        read_answer("classification", np.zeros(2, np.float32), ENCODING, ("text",), ("a", "b", "c"))
