"""The metric of each task, against examples that were worked out by hand."""

import dataclasses
import importlib.metadata
import itertools
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from gearshift.runtime.bundle.tag_schemes import recognise
from gearshift.runtime.inference.spans import Word, entities
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.data.rows import LabelSet, Row, Span, Tags
from gearshift.trainer.learning.metrics import (
    Array,
    accuracy,
    all_labels_right,
    answer_f1,
    cosine,
    entity_f1,
    entity_precision,
    entity_recall,
    exact_match,
    macro_f1,
    macro_f1_of_several,
    matthews,
    micro_f1,
    pearson,
    spearman,
)


def rows_of(task: str, labels: object, rows: Sequence[Row] = (), places: Sequence[object] = ()) -> EncodedRows:
    count = len(labels)  # type: ignore[arg-type]
    ids, types = (np.zeros(4, np.int32),) * count, (np.zeros(4, np.int8),) * count
    arrays = tuple(np.array(one, dtype=np.int32) for one in places)
    return EncodedRows(ids, types, np.array(labels), 0, 0, 0, task, ("O", "B-x", "I-x"), tuple(rows), arrays)


def one_hot(*places: int) -> Array:
    """Logits (tokens, 3) that choose these labels."""
    return np.eye(3, dtype=np.float32)[list(places)]


def test_accuracy_is_the_share_of_right_labels() -> None:
    assert accuracy(list(one_hot(0, 1, 2, 2)), rows_of("classification", [0, 1, 2, 0])) == 0.75


def test_micro_f1_counts_all_labels_of_all_rows_together() -> None:
    outputs = [np.array(one, np.float32) for one in ((1, -1, 2), (-3, -1, -2), (4, 4, -0.5))]
    labels = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0]], np.float32)  # 3 right of 4 found, and of 4 there are
    assert micro_f1(outputs, rows_of("multi-label-classification", labels)) == pytest.approx(0.75)
    none = np.zeros((3, 3), np.float32)
    assert micro_f1([-np.ones(3, np.float32)] * 3, rows_of("multi-label-classification", none)) == 0


def test_a_label_that_the_model_lacks_counts_as_wrong_in_every_metric() -> None:
    rows = rows_of("classification", [0, 1, 3, 4])  # classes 3 and 4 are labels that no output can be
    right = list(one_hot(0, 1, 0, 1))
    assert accuracy(right, rows) == 0.5
    assert macro_f1(right, rows) == pytest.approx((2 / 3 + 2 / 3 + 0 + 0) / 4)
    assert matthews(right, rows) < 1


def test_of_several_labels_one_that_the_model_lacks_is_missed() -> None:
    known = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    labelled = (Row("a", None, LabelSet(("O", "new"))), Row("b", None, LabelSet(("B-x",))))
    rows = dataclasses.replace(rows_of("multi-label-classification", known, labelled), unseen=1)
    outputs = [np.where(one > 0, 1, -1).astype(np.float32) for one in known]  # all that can be found
    assert micro_f1(outputs, rows) == pytest.approx(2 * 2 / (2 + 3))  # 2 right of 2 found, and of 3 there are
    assert macro_f1_of_several(outputs, rows) == pytest.approx((1 + 1 + 0 + 0) / 4)
    assert all_labels_right(outputs, rows) == 0.5


def test_an_entity_of_a_tag_that_the_model_lacks_is_missed() -> None:
    row = Row("a b c", None, Tags((0, 2, 4), ("B-new", "O", "B-x")))
    rows = rows_of("token-classification", [0], [row], [[1, 2, 3]])
    assert entity_recall([one_hot(0, 0, 0, 1)], rows) == 0.5
    assert entity_f1([one_hot(0, 0, 0, 1)], rows) == pytest.approx(2 / 3)


def test_of_a_single_label_f1_is_that_of_having_it() -> None:
    outputs = [np.array([number], np.float32) for number in (1, -1, -1, -1)]
    encoded = rows_of("multi-label-classification", np.array([[1], [1], [0], [0]], np.float32))
    # One found and right, one missed: precision 1, recall 1/2. Three rows of four are right.
    assert micro_f1(outputs, encoded) == macro_f1_of_several(outputs, encoded) == pytest.approx(2 / 3)
    assert all_labels_right(outputs, encoded) == 0.75


def test_macro_f1_is_the_mean_over_the_labels() -> None:
    # Found 0 0 0 1 1, right 0 0 1 1 2. F1 of label 0: 2*2/(3+2); of 1: 2*1/(2+2); of 2: 0.
    encoded = rows_of("classification", [0, 0, 1, 1, 2])
    assert macro_f1(list(one_hot(0, 0, 0, 1, 1)), encoded) == pytest.approx((4 / 5 + 1 / 2 + 0) / 3)


def test_macro_f1_of_several_is_the_mean_over_the_labels_and_all_must_be_right_for_a_row() -> None:
    outputs = [np.array(one, np.float32) for one in ((1, -1, 2), (-3, -1, -2), (4, 4, -0.5))]
    labels = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0]], np.float32)
    encoded = rows_of("multi-label-classification", labels)
    assert macro_f1_of_several(outputs, encoded) == pytest.approx((1 + 1 + 0) / 3)  # the third is found where it is not
    assert all_labels_right(outputs, encoded) == pytest.approx(1 / 3)


def test_matthews_is_the_correlation_of_labels_found_and_right() -> None:
    # Of two labels: 2 of 3 and 1 of 2 right: (2*1 - 1*1) / sqrt(3 * 3 * 2 * 2).
    encoded = rows_of("classification", [1, 1, 1, 0, 0])
    assert matthews(list(one_hot(1, 1, 0, 0, 1)), encoded) == pytest.approx(1 / 6)
    assert matthews(list(one_hot(0, 0, 0, 1, 1)), encoded) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((2, 4, 6, 12), 1.0),
        ((1, 2, 3, 4), 8 / 70**0.5),  # deviations -1.5, -.5, .5, 1.5 and of the labels -2, -1, 0, 3
        ((4, 3, 2, 1), -8 / 70**0.5),
        ((5, 5, 5, 5), 0.0),
    ],
)
def test_pearson_is_the_linear_correlation_below_0_too(numbers: Sequence[float], expected: float) -> None:
    outputs = [np.array([number], dtype=np.float32) for number in numbers]
    assert pearson(outputs, rows_of("regression", [1, 2, 3, 6])) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((10, 20, 30, 40), 1.0),  # the ranks alone count
        ((1, 3, 2, 4), 1 - 6 * 2 / (4 * 15)),  # 1 - 6 sum d**2 / n(n**2 - 1)
        ((4, 3, 2, 1), 0.0),
        ((5, 5, 5, 5), 0.0),
    ],
)
def test_spearman_is_the_correlation_of_ranks(numbers: Sequence[float], expected: float) -> None:
    outputs = [np.array([number], dtype=np.float32) for number in numbers]
    assert spearman(outputs, rows_of("regression", [0.1, 0.2, 0.3, 9.0])) == pytest.approx(expected)


def test_an_entity_counts_where_it_is_right_from_end_to_end() -> None:
    rows = [
        Row("a b c", None, Tags((0, 2, 4), ("B-x", "I-x", "O"))),
        Row("a b", None, Tags((0, 2), ("O", "B-x"))),
        Row("a b", None, Tags((0, 2), ("O", "B-x"))),
    ]
    places = [[0, 2, 3], [0, 1], [0, -1]]
    encoded = rows_of("token-classification", [0, 0, 0], rows, places)
    # Whole; one too long; and one word of which is cut off. 1 right of 2 found and 3 expected.
    outputs = [one_hot(1, 0, 2, 0), one_hot(1, 2), one_hot(0, 1)]
    assert entity_f1(outputs, encoded) == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert entity_precision(outputs, encoded) == pytest.approx(1 / 2)
    assert entity_recall(outputs, encoded) == pytest.approx(1 / 3)
    assert entity_f1([one_hot(0, 0, 0, 0)] * 3, encoded) == 0


SCHEMES = {
    "IOB2": ("O", "B-x", "I-x", "B-y", "I-y"),
    "IOBES": ("O", "B-x", "I-x", "E-x", "S-x"),
    "BILOU": ("O", "B-x", "I-x", "L-x", "U-x"),
    "suffixes": ("O", "x-B", "x-I", "y-B", "y-I"),
    "plain": ("O", "x", "y"),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_entities_are_those_of_the_runtime_for_every_short_row_of_tags(name: str) -> None:
    labels = SCHEMES[name]
    scheme = recognise(labels)
    for chosen in itertools.product(range(len(labels)), repeat=3):
        tags = tuple(labels[place] for place in chosen)
        words = [Word("w", 2 * number, 2 * number + 1, tag, 1.0) for number, tag in enumerate(tags)]
        answered = list(entities(words, "w w w", scheme))
        encoded = dataclasses.replace(
            rows_of("token-classification", [0], [Row("w w w", None, Tags((0, 2, 4), tags))], [[0, 1, 2]]), names=labels
        )
        outputs = [np.eye(len(labels), dtype=np.float32)[list(chosen)]]
        assert entity_f1(outputs, encoded) == (1 if answered else 0)
        other = dataclasses.replace(encoded, rows=(Row("w w w", None, Tags((0, 2, 4), (*tags[:2], "O"))),))
        kept = {(one.start, one.end, one.label) for one in entities(words[:2], "w w w", scheme)}
        right = len(kept & {(one.start, one.end, one.label) for one in answered})
        assert entity_precision(outputs, other) == pytest.approx(right / max(1, len(answered)))
        assert entity_recall(outputs, other) == pytest.approx(right / max(1, len(kept)))


def test_an_answer_is_worth_the_words_that_it_shares_with_the_nearest_right_one() -> None:
    context = "the snow fell late"
    row = Row("what", context, (Span(0, "the snow"), Span(9, "fell late")))
    places = [[-1, -1], [4, 8], [9, 13], [14, 18]]
    right, half, wrong = np.zeros((3, 4, 2), np.float32)
    right[1] = 9  # "snow": articles do not count
    half[1, 0], half[2, 1] = 9, 9  # "snow fell": one of two words, and one of one
    wrong[0] = 99  # the question's token is no answer; what is likeliest of the others is the first
    wrong[3] = 9  # "late"
    encoded = rows_of("question-answering", [[0, 0]], [row], [places])
    assert answer_f1([right], encoded) == 1
    assert answer_f1([half], encoded) == pytest.approx(2 / 3)
    assert answer_f1([wrong], encoded) == pytest.approx(2 / 3)
    assert [exact_match([one], encoded) for one in (right, half, wrong)] == [1, 0, 0]


def test_cosine_is_the_mean_and_never_below_0() -> None:
    encoded = rows_of("embedding", np.array([[1.0, 0], [0, 1]]))
    assert cosine([np.array([1, 0], np.float32), np.array([0.8, 0.6], np.float32)], encoded) == pytest.approx(0.8)
    assert cosine([np.array([-1, 0], np.float32)] * 2, encoded) == 0


def test_training_takes_no_transformers_that_lacks_the_metrics_of_squad() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    needed = map(Requirement, project["optional-dependencies"]["train"])
    (taken,) = (one.specifier for one in needed if one.name == "transformers")
    assert importlib.metadata.version("transformers") in taken
    assert "5.19.0" in taken
    assert not [version for version in ("5.20.0", "5.20.2", "5.23.0", "5.24.0") if version in taken]
