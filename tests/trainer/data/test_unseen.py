"""Held-out rows with labels that train lacks: they stay, are told in one line, and no answer meets their targets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.errors import DataError
from gearshift.trainer.data.batches import encode
from gearshift.trainer.data.rows import LabelSet, Row, Tags
from gearshift.trainer.data.splits import read_data
from gearshift.trainer.data.targets import IGNORED
from gearshift.trainer.data.unseen import classes_of, unseen_labels
from tests.trainer.data.test_batches import LABELS, make_tokenizer

KINDS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], str]] = {
    "classification": (
        [{"sentence": "a", "label": "x"}, {"sentence": "b", "label": "y"}],
        [{"sentence": "c", "label": "new"}, {"sentence": "d", "label": "x"}, {"sentence": "e", "label": "new"}],
        "2 of 3 rows have labels that train lacks, and count as wrong: new (2)",
    ),
    "multi-label-classification": (
        [{"sentence": "a", "labels": ["x"]}, {"sentence": "b", "labels": ["x", "y"]}],
        [{"sentence": "c", "labels": ["x", "new"]}, {"sentence": "d", "labels": ["odd"]},
         {"sentence": "e", "labels": []}],
        "2 of 3 rows have labels that train lacks, and count as wrong: new (1), odd (1)",
    ),
    "token-classification": (
        [{"tokens": ["a", "b"], "ner_tags": ["O", "B-x"]}],
        [{"tokens": ["a", "b"], "ner_tags": ["B-new", "I-new"]}, {"tokens": ["a"], "ner_tags": ["O"]}],
        "1 of 2 rows have labels that train lacks, and count as wrong: B-new (1), I-new (1)",
    ),
}  # fmt: skip
"""Task -> rows of train, rows of a held-out split, and what is said of the latter."""


def folder_with(folder: Path, split: str, task: str) -> Path:
    """A folder in which one split has labels that train lacks."""
    train, odd, _ = KINDS[task]
    for name in ("train", "dev", "test"):
        records = odd if name == split else train
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize("split", ["dev", "test"])
def test_rows_with_labels_that_train_lacks_stay_and_are_counted_in_one_line(
    tmp_path: Path, split: str, task: str
) -> None:
    data = read_data(folder_with(tmp_path, split, task), task=task)
    assert data.notes == (f"{tmp_path}/{split}.jsonl: {KINDS[task][2]}",)
    assert len(data.splits[split]) == len(KINDS[task][1])
    assert not {"new", "odd", "B-new"} & set(data.labels)


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize("split", ["dev", "test"])
def test_strict_labels_refuse_them_with_file_and_line(tmp_path: Path, split: str, task: str) -> None:
    with pytest.raises(DataError, match=rf"{split}\.jsonl:1: label '(B-)?new' is not in train\.jsonl, which has"):
        read_data(folder_with(tmp_path, split, task), task=task, strict_labels=True)


def test_rows_of_which_none_has_a_label_of_train_are_those_of_other_data(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("sentence\tlabel\na\tx\nb\ty\n")
    (tmp_path / "test.tsv").write_text("sentence\tlabel\na\t1\nb\t2\n")
    message = r"test\.tsv:2: label '1' is not in train\.tsv, which has x, y; so it is with 2 of 2 rows"
    with pytest.raises(DataError, match=message):
        read_data(tmp_path)


def test_the_most_frequent_unseen_labels_come_first() -> None:
    rows = [Row("a", None, "q"), Row("a", None, "p"), Row("a", None, "z"), Row("a", None, "z"), Row("a", None, "hot")]
    found = unseen_labels(rows, LABELS)
    assert (found.rows, list(found.rows_of.items()), found.alone) == (4, [("z", 2), ("p", 1), ("q", 1)], False)
    assert classes_of(rows, LABELS) == [-1, -1, -1, -1, 1]


def test_of_held_out_rows_an_unseen_label_is_a_class_that_the_model_does_not_have() -> None:
    rows = [Row("w0", None, label) for label in ("hot", "new", "cold", "odd", "new")]
    encoded = encode(rows, LABELS, make_tokenizer(), max_length=8, held_out=True)
    assert isinstance(encoded.labels, np.ndarray)
    assert encoded.labels.tolist() == [1, 3, 0, 4, 3]
    assert encoded.unseen == 3


def test_of_held_out_rows_an_unseen_label_among_several_and_an_unseen_tag_have_no_target() -> None:
    rows = [Row("w0", None, LabelSet(("new", "hot"))), Row("w1", None, LabelSet(("new",)))]
    task = "multi-label-classification"
    several = encode(rows, LABELS, make_tokenizer(), max_length=8, task=task, held_out=True)
    assert np.array(several.labels).tolist() == [[0, 1, 0], [0, 0, 0]] and several.unseen == 2
    tagged = [Row("w0 w1", None, Tags((0, 3), ("B-new", "hot")))]
    (targets,) = encode(
        tagged, LABELS, make_tokenizer(), max_length=8, task="token-classification", held_out=True
    ).labels
    assert targets.tolist() == [IGNORED, IGNORED, 1, IGNORED]


@pytest.mark.parametrize(("labels", "held_out"), [(("hot", "new"), False), (("new", "new"), True)])
def test_of_training_rows_and_of_rows_without_any_known_label_they_are_refused(
    labels: tuple[str, ...], held_out: bool
) -> None:
    with pytest.raises(DataError, match="label 'new' is not among cold, hot, mild"):
        encode([Row("w0", None, label) for label in labels], LABELS, make_tokenizer(), max_length=8, held_out=held_out)
