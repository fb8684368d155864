"""Labelled rows and their splits, and one line for everything that is wrong with them."""

import json
import logging
from pathlib import Path

import pytest

from gearshift.errors import DataError
from gearshift.trainer.data.files.split_files import STEMS
from gearshift.trainer.data.formats import SUFFIXES
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.splits import DataSet, read_data
from tests.trainer.data.test_formats import render as render_table

ROWS = (
    Row("turn on the light", None, "on"),
    Row('say "hello", please', None, "off"),
    Row("café\u2028au lait", None, "off"),  # U+2028: a line separator that ends no line of a file
)
PAIRS = tuple(Row(row.text, f"and {row.text}", row.label) for row in ROWS)
HEADER = "sentence\tlabel\n"


def render(rows: tuple[Row, ...], suffix: str) -> bytes:
    """The rows as a file of that suffix."""
    if rows[0].pair is None:
        return render_table(("sentence", "label"), [(row.text, str(row.label)) for row in rows], suffix)
    table = [(row.text, row.pair or "", str(row.label)) for row in rows]
    return render_table(("sentence", "sentence2", "label"), table, suffix)


def folder_with(folder: Path, **splits: str) -> Path:
    """A folder with one TSV file per split, of the lines `text<TAB>label` given."""
    for split, lines in splits.items():
        (folder / f"{split}.tsv").write_text(HEADER + lines, encoding="utf-8", newline="")
    return folder


def many_rows(count: int) -> tuple[Row, ...]:
    """Rows of two labels, three of `a` to one of `b`."""
    return tuple(Row(f"text {number}", None, "ab"[number % 4 == 0]) for number in range(count))


# What is read


@pytest.mark.parametrize("rows", [ROWS, PAIRS], ids=["texts", "pairs"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str, rows: tuple[Row, ...]) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / (split + suffix)).write_bytes(render(rows, suffix))
    data = read_data(tmp_path)
    assert data == DataSet(("off", "on"), {"train": rows, "dev": rows, "test": rows})
    assert data.paired == (rows is PAIRS)


@pytest.mark.parametrize("stem", STEMS["dev"])
def test_the_dev_split_may_have_any_of_its_names(tmp_path: Path, stem: str) -> None:
    data = read_data(folder_with(tmp_path, train="a\tx\nb\ty\n", test="c\tx\n", **{stem: "d\ty\n"}))
    assert data.splits["dev"] == (Row("d", None, "y"),)
    taken = f"{tmp_path}: train.tsv is train, {stem}.tsv is dev, test.tsv is test"
    assert data.notes == (() if stem == "dev" else (taken,))


def test_files_with_more_in_their_name_are_left_alone(tmp_path: Path) -> None:
    folder_with(tmp_path, train="a\tx\nb\ty\n", dev="c\tx\n", test="d\tx\n")
    for name in (
        "train.fine.tsv",
        "train.slots.jsonl",
        "dev.old.csv",
        "mytest.tsv",
        "train.tsv.bak",
        "SOURCE.txt",
    ):
        (tmp_path / name).write_text("not data")
    (tmp_path / "test.csv").mkdir()
    assert [len(rows) for rows in read_data(tmp_path).splits.values()] == [2, 1, 1]


def test_integer_labels_stay_strings_and_sort_as_strings(tmp_path: Path) -> None:
    lines = [json.dumps({"sentence": f"text {label}", "label": label}) for label in (2, 10, True, "0")]
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    assert read_data(tmp_path).labels == ("0", "10", "2", "true")


def test_columns_may_have_other_names_and_stand_in_any_order(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.csv").write_text("gold,id,b,a\nx,1,two,one\ny,2,four,three\n")
    data = read_data(tmp_path, text_column="a", pair_column="b", label_column="gold")
    assert data.splits["train"] == (Row("one", "two", "x"), Row("three", "four", "y"))


def test_data_says_how_to_read_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.tsv").write_text("said\tlabel\na\tx\nb\ty\n")
    monkeypatch.chdir(tmp_path)
    data = read_data(".", text_column="said")
    assert data.facts == {"data": str(tmp_path), "columns": {"text_column": "said"}}
    monkeypatch.chdir(tmp_path.parent)
    assert read_data(data.facts["data"], **data.facts["columns"]) == data


def test_without_a_pair_column_only_the_first_text_is_read(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_bytes(render(PAIRS, ".tsv"))
    for split in ("dev", "test"):
        (tmp_path / f"{split}.tsv").write_bytes(render(PAIRS, ".tsv"))
    assert read_data(tmp_path, pair_column=None).splits["train"] == ROWS


# Splits that no file brings


def test_a_missing_dev_split_is_a_tenth_of_each_label_of_train(tmp_path: Path) -> None:
    rows = many_rows(400)
    (tmp_path / "train.tsv").write_bytes(render(rows, ".tsv"))
    folder_with(tmp_path, test="other\ta\n")
    data = read_data(tmp_path)
    train, dev = data.splits["train"], data.splits["dev"]
    assert sorted(train + dev, key=rows.index) == list(rows)
    assert list(train) == sorted(train, key=rows.index)
    assert [sum(row.label == label for row in dev) for label in "ab"] == [30, 10]
    assert len(data.notes) == 1 and "40 of 400 rows of train.tsv are held out as dev" in data.notes[0]


def test_a_missing_test_split_is_held_out_of_train_and_both_notes_and_log_say_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = many_rows(400)
    (tmp_path / "train.tsv").write_bytes(render(rows, ".tsv"))
    with caplog.at_level(logging.INFO, logger="gearshift"):
        data = read_data(folder_with(tmp_path, dev="c\ta\n"))
    assert data.splits["dev"] == (Row("c", None, "a"),)
    assert sorted(data.splits["train"] + data.splits["test"], key=rows.index) == list(rows)
    assert len(data.splits["test"]) == 40
    assert data.notes == (f"{tmp_path}: no test file, so 40 of 400 rows of train.tsv are held out as test",)
    assert caplog.messages == list(data.notes)
    assert data.facts["held_out"] == ["test"]


def test_the_rows_of_a_folder_of_train_alone_are_split_as_those_of_a_file(tmp_path: Path) -> None:
    rows = many_rows(400)
    (tmp_path / "train.tsv").write_bytes(render(rows, ".tsv"))
    folder, file = read_data(tmp_path), read_data(tmp_path / "train.tsv")
    assert folder.splits == file.splits
    assert [len(folder.splits[split]) for split in ("train", "dev", "test")] == [320, 40, 40]
    assert [note.rsplit(" ", 1)[1] for note in folder.notes] == ["test", "dev"]


def test_no_row_that_is_held_out_is_in_two_splits_and_dev_rows_never_are_the_test_rows(tmp_path: Path) -> None:
    files = {"train": many_rows(60), "dev": tuple(Row(f"dev {n}", None, "a") for n in range(9))}
    for kept in (("train",), ("train", "dev")):
        folder = tmp_path / "-".join(kept)
        folder.mkdir()
        for split in kept:
            (folder / f"{split}.tsv").write_bytes(render(files[split], ".tsv"))
        texts = [{row.text for row in part} for part in read_data(folder).splits.values()]
        assert all(texts) and sum(map(len, texts)) == len(set.union(*texts))


def test_too_few_rows_to_hold_a_test_out_name_the_file_that_is_missing(tmp_path: Path) -> None:
    message = r"train\.tsv: too few rows to hold some out as test; expected .*, or a file of test rows$"
    with pytest.raises(DataError, match=message):
        read_data(folder_with(tmp_path, train="a\tx\nb\ty\n", dev="c\tx\n"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_single_file_is_split_in_eight_one_and_one(tmp_path: Path, suffix: str) -> None:
    rows = many_rows(400)
    file = tmp_path / f"anything.at.all{suffix}"
    file.write_bytes(render(rows, suffix))
    data = read_data(file)
    assert [len(data.splits[split]) for split in ("train", "dev", "test")] == [320, 40, 40]
    assert sorted(sum(data.splits.values(), ()), key=rows.index) == list(rows)
    assert "320 train, 40 dev and 40 test rows" in data.notes[0]


def test_the_split_of_a_file_does_not_depend_on_the_order_of_its_rows(tmp_path: Path) -> None:
    rows = many_rows(100)
    splits = []
    for name, ordered in (("one.tsv", rows), ("two.tsv", rows[::-1])):
        (tmp_path / name).write_bytes(render(ordered, ".tsv"))
        splits.append({split: set(part) for split, part in read_data(tmp_path / name).splits.items()})
    assert splits[0] == splits[1]


def test_equal_texts_stay_on_one_side_whatever_their_labels(tmp_path: Path) -> None:
    rows = many_rows(60) * 2 + tuple(Row(row.text, None, "c") for row in many_rows(60))
    (tmp_path / "all.tsv").write_bytes(render(rows, ".tsv"))
    texts = [{row.text for row in part} for part in read_data(tmp_path / "all.tsv").splits.values()]
    assert sum(len(part) for part in texts) == 60
    assert all(texts)


def test_a_rare_label_keeps_a_row_for_training(tmp_path: Path) -> None:
    rows = (*many_rows(40), Row("only one", None, "rare"), Row("one", None, "two"), Row("two", None, "two"))
    (tmp_path / "all.tsv").write_bytes(render(rows, ".tsv"))
    data = read_data(tmp_path / "all.tsv")
    assert {row.label for row in data.splits["train"]} == set(data.labels) == {"a", "b", "rare", "two"}
    assert {row.label for row in data.splits["test"]} == {"a", "b", "two"}


# What is wrong


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.tsv", HEADER + "a\tx\n \ty\n", r"train\.tsv:3: empty text in 'sentence'"),
        ("train.tsv", HEADER + "a\tx\nb\t \n", r"train\.tsv:3: empty label in 'label'"),
        ("train.tsv", HEADER, r"train\.tsv: no rows"),
        ("train.tsv", HEADER + "a\tx\nb\tx\n", r"train\.tsv: every row has the label 'x'"),
        ("train.tsv", "sentence\tsentence2\tlabel\na\t\tx\n", r"train\.tsv:2: empty text in 'sentence2'"),
        (
            "train.jsonl",
            '{"sentence": 5, "label": "x"}\n',
            r"train\.jsonl:1: expected a text in 'sentence', got int",
        ),
        (
            "train.jsonl",
            '{"sentence": "a", "label": 0.5}\n',
            r"train\.jsonl:1: .* integer in 'label', got float",
        ),
        (
            "train.jsonl",
            '{"sentence": "a", "label": null}\n',
            r"train\.jsonl:1: .* integer in 'label', got NoneType",
        ),
        (
            "train.jsonl",
            r'{"sentence": "a\ud800", "label": 1}',
            r"train\.jsonl:1: half a surrogate pair in 'sent",
        ),
        ("train.jsonl", "", r"train\.jsonl: no rows"),
        (
            "train.jsonl",
            '{"sentence": "a", "label": 1}\n{"sentence": "b", "sentence2": "c", "label": 2}',
            r"train\.jsonl:2: some rows have 'sentence2' and some do not",
        ),
    ],
)
def test_bad_content_is_one_line_with_file_and_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    with pytest.raises(DataError, match=message) as caught:
        read_data(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize(
    ("lines", "message"),
    [("b\tnew\n", r"tsv:2: label 'new' is not in train\.tsv, which has x, y"), ("", r"tsv: no rows")],
)
def test_dev_and_test_are_checked_as_well(tmp_path: Path, split: str, lines: str, message: str) -> None:
    folder_with(tmp_path, train="a\tx\nb\ty\n", **{split: lines})
    with pytest.raises(DataError, match=split + r"\." + message):
        read_data(tmp_path)


def test_pairs_in_one_split_only_are_an_error(tmp_path: Path) -> None:
    folder_with(tmp_path, train="a\tx\nb\ty\n")
    (tmp_path / "dev.tsv").write_text("sentence\tsentence2\tlabel\na\tb\tx\n")
    with pytest.raises(DataError, match=r"dev\.tsv:2: has pairs, but train\.tsv has single texts"):
        read_data(tmp_path)


def test_a_pair_column_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    folder_with(tmp_path, train="a\tx\nb\ty\n")
    with pytest.raises(DataError, match=r"train\.tsv:1: no column 'premise'; found sentence, label"):
        read_data(tmp_path, pair_column="premise")


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ("train.tsv", "train.csv")),
        ("dev", ("dev.tsv", "trial.tsv")),
        ("test", ("test.tsv", "test.tsv.xz")),
    ],
)
def test_two_files_for_one_split_are_both_named(tmp_path: Path, split: str, names: tuple[str, str]) -> None:
    folder_with(tmp_path, train="a\tx\nb\ty\n")
    for name in names:
        (tmp_path / name).write_bytes(render(ROWS, name[name.index(".") :]))
    with pytest.raises(DataError, match=rf"{names[0]}, {names[1]} could each be the {split} split"):
        read_data(tmp_path)


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such file or folder"):
        read_data(tmp_path / "nowhere")


@pytest.mark.parametrize("suffix", ["", ".xlsx", ".tsv.zip"])
def test_a_single_file_of_another_format_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"data{suffix}").write_text(HEADER + "a\tx\n")
    with pytest.raises(DataError, match=rf"data{suffix}: unknown suffix; expected"):
        read_data(tmp_path / f"data{suffix}")


@pytest.mark.parametrize(("names", "found"), [((), "nothing"), (("train.fine.tsv", "dev.tsv"), "dev.tsv, train.fine")])
def test_a_folder_without_a_training_file_says_what_it_holds(
    tmp_path: Path, names: tuple[str, ...], found: str
) -> None:
    for name in names:
        (tmp_path / name).write_text(HEADER + "a\tx\n")
    with pytest.raises(DataError, match=f"no training file; .* found {found}"):
        read_data(tmp_path)


def test_too_few_rows_to_hold_some_out_are_an_error(tmp_path: Path) -> None:
    folder_with(tmp_path, train="a\tx\na\tx\nb\ty\n")
    with pytest.raises(DataError, match=r"train\.tsv: too few rows to hold some out"):
        read_data(tmp_path)
