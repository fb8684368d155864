"""The rows of every task from files, how they are split, and one line for what is wrong with them."""

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from gearshift.errors import DataError, InputError
from gearshift.trainer.data.rows import LabelSet, Row, Span, Tags
from gearshift.trainer.data.splits import read_data

ANSWER = {"text": "snow", "answer_start": 4}


def one_file(folder: Path, *records: Any, name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def all_splits(folder: Path, *records: Any) -> Path:
    for split in ("train", "dev", "test"):
        one_file(folder, *records, name=f"{split}.jsonl")
    return folder


@pytest.mark.parametrize("column", ["label", "score"])
def test_numbers_are_read_from_strings_and_from_json(tmp_path: Path, column: str) -> None:
    (tmp_path / "train.tsv").write_text(f"sentence\tsentence2\t{column}\na\tb\t2.5\nc\td\t-1e1\n")
    for split in ("dev", "test"):
        records = [{"sentence": "a", "sentence2": "b", column: number} for number in (3, 0.5)]
        one_file(tmp_path, *records, name=f"{split}.jsonl")
    data = read_data(tmp_path, task="regression")
    assert data.splits["train"] == (Row("a", "b", 2.5), Row("c", "d", -10.0))
    assert [row.label for row in data.splits["dev"]] == [3.0, 0.5]
    assert (data.labels, data.task) == ((), "regression")


def test_several_labels_are_a_list_or_a_text_with_bars(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("sentence\tlabels\na\tcold|wet\nb\t\nc\thot\n")
    for split in ("dev", "test"):
        one_file(
            tmp_path,
            {"sentence": "d", "labels": ["wet", "hot"]},
            {"sentence": "e", "labels": []},
            name=f"{split}.jsonl",
        )
    data = read_data(tmp_path, task="multi-label-classification")
    assert [row.label for row in data.splits["train"]] == [LabelSet(("cold", "wet")), LabelSet(()), LabelSet(("hot",))]
    assert [row.label for row in data.splits["dev"]] == [LabelSet(("wet", "hot")), LabelSet(())]
    assert data.labels == ("cold", "hot", "wet")


def test_words_are_joined_by_blanks_and_know_where_they_begin(tmp_path: Path) -> None:
    folder = all_splits(tmp_path, {"tokens": ["at", "Lake", "X"], "tags": ["O", "B-l", "I-l"]})
    data = read_data(folder, task="token-classification")
    assert data.splits["train"] == (Row("at Lake X", None, Tags((0, 3, 8), ("O", "B-l", "I-l"))),)
    assert data.labels == ("B-l", "I-l", "O")


def test_questions_are_read_one_a_line_many_a_line_and_as_datasets_has_them(tmp_path: Path) -> None:
    context = "the snow"
    shapes = (
        {"title": "t", "question": "q", "context": context, "answers": [ANSWER]},
        {"title": "t", "context": context, "qas": [{"question": "q", "answers": [ANSWER]}]},
        {"title": "t", "question": "q", "context": context, "answers": {"text": ["snow"], "answer_start": [4]}},
    )
    data = read_data(all_splits(tmp_path, *shapes), task="question-answering")
    assert set(data.splits["train"]) == {Row("q", context, (Span(4, "snow"),), "t")}
    assert len(data.splits["train"]) == 3


def test_no_context_lies_on_both_sides_of_a_split_even_under_two_titles(tmp_path: Path) -> None:
    records = [
        {"title": f"t{number % 12}", "question": "q", "context": f"the snow {number % 30}", "answers": [ANSWER]}
        for number in range(240)
    ]
    data = read_data(one_file(tmp_path, *records), task="question-answering")
    contexts = [{row.pair for row in rows} for rows in data.splits.values()]
    assert all(contexts) and sum(map(len, contexts)) == 30
    titles = [{row.group for row in rows} for rows in data.splits.values()]
    assert sum(map(len, titles)) == len(set.union(*titles))


@pytest.mark.parametrize("name", ["train.txt", "train.txt.xz"])
def test_an_embedding_takes_each_line_of_plain_text(tmp_path: Path, name: str) -> None:
    text = ("".join(f"text {number}\n\n" for number in range(30))).encode()
    (tmp_path / name).write_bytes(lzma.compress(text) if name.endswith(".xz") else text)
    for path in (tmp_path, tmp_path / name):
        splits = read_data(path, task="embedding").splits
        rows = {row for split in splits.values() for row in split}
        assert rows == {Row(f"text {number}", None, None) for number in range(30)}
        assert not set(splits["train"]) & set(splits["dev"])


def test_an_embedding_takes_a_column_and_pays_no_heed_to_others(tmp_path: Path) -> None:
    records = [{"sentence": f"text {number}", "sentence2": "x", "label": 1} for number in range(20)]
    splits = read_data(one_file(tmp_path, *records), task="embedding").splits
    assert {(row.pair, row.label) for rows in splits.values() for row in rows} == {(None, None)}


def test_plain_text_has_no_labels(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a\nb\n")
    with pytest.raises(
        DataError, match=r"train\.txt:1: expected a header line with the names of the columns, .* got 'a'"
    ):
        read_data(tmp_path / "train.txt", task="regression")


QUESTION = {"question": "q", "context": "the snow"}


@pytest.mark.parametrize(
    ("task", "record", "message"),
    [
        ("regression", {"sentence": "a", "score": "much"}, "expected a number in 'score', got 'much'"),
        ("regression", {"sentence": "a", "score": "nan"}, "expected a number in 'score', got 'nan'"),
        ("regression", {"sentence": "a", "score": True}, "expected a number in 'score', got True"),
        ("regression", {"sentence": "a"}, "no column 'label' or 'score'; found sentence"),
        ("token-classification", {"tokens": ["a"]}, "no column 'ner_tags' or 'tags'; found tokens"),
        ("token-classification", {"tokens": 5, "tags": ["O"]}, "expected a list in 'tokens', got int"),
        ("token-classification", {"tokens": [], "tags": []}, "expected a list in 'tokens', got an empty list"),
        ("token-classification", {"tokens": ["a", "b"], "tags": ["O"]}, "2 words in 'tokens' but 1 tags in 'tags'"),
        ("token-classification", {"tokens": [" "], "tags": ["O"]}, "empty text in 'tokens'"),
        ("question-answering", {"context": "the snow"}, "no column 'question' or 'qas' or 'paragraphs' or 'data'"),
        ("question-answering", {"context": "the snow", "qas": []}, "expected a list of questions in 'qas'"),
        ("question-answering", {"context": "the snow", "qas": ["q"]}, "expected an object for each question in 'qas'"),
        ("question-answering", QUESTION, "no column 'answers'"),
        ("question-answering", {**QUESTION, "answers": {"text": ["snow"]}}, "as many of 'text' as of 'answer_start'"),
        ("question-answering", {**QUESTION, "answers": [{"text": "snow"}]}, "a whole 'answer_start' for each"),
        ("question-answering", {**QUESTION, "answers": [{**ANSWER, "answer_start": 3}]}, "' sno' is; correct"),
        ("question-answering", {**QUESTION, "answers": [{**ANSWER, "answer_start": -4}]}, "'snow' is not at -4"),
        ("embedding", {"sentence": ""}, "empty text in 'sentence'"),
    ],
)  # fmt: skip
def test_bad_content_is_one_line_with_file_and_line(
    tmp_path: Path, task: str, record: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_data(one_file(tmp_path, record), task=task)
    assert str(caught.value).startswith(f"{tmp_path / 'train.jsonl'}:1: ")
    assert "\n" not in str(caught.value)


def test_a_tag_that_only_the_test_rows_have_is_an_error_if_labels_are_strict(tmp_path: Path) -> None:
    all_splits(tmp_path, {"tokens": ["a", "b"], "tags": ["O", "B-x"]})
    one_file(tmp_path, {"tokens": ["a"], "tags": ["B-y"]}, name="test.jsonl")
    with pytest.raises(DataError, match=r"test\.jsonl:1: label 'B-y' is not in train\.jsonl, which has B-x, O"):
        read_data(tmp_path, task="token-classification", strict_labels=True)


def test_tags_that_are_numbers_are_no_entities(tmp_path: Path) -> None:
    folder = all_splits(tmp_path, {"tokens": ["a", "b", "c"], "ner_tags": [0, 3, "10"]})
    with pytest.raises(
        DataError, match=r"train\.jsonl: tags are numbers \(0, 10, 3\) and none is 'O', .*; write names"
    ):
        read_data(folder, task="token-classification")
    all_splits(tmp_path, {"tokens": ["a", "b", "c"], "ner_tags": ["O", "3", "10"]})
    assert read_data(folder, task="token-classification").labels == ("10", "3", "O")


def test_an_unknown_task_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^task: expected one of classification, .*, embedding, got 'ner'$"):
        read_data(one_file(tmp_path, {"sentence": "a"}), task="ner")


@pytest.mark.parametrize(
    ("task", "records", "message"),
    [
        ("regression", [{"sentence": t, "score": 1} for t in "ab"], "every row has the number 1; expected different"),
        ("question-answering", [{**QUESTION, "answers": [ANSWER]}] * 9, "expected two different articles or contexts"),
        ("embedding", [{"sentence": "a"}] * 9, "too few rows to hold some out as test; expected two different texts"),
    ],
)
def test_rows_that_are_all_alike_cannot_be_used(
    tmp_path: Path, task: str, records: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_data(one_file(tmp_path, *records), task=task)
