"""Data files as people have them: each gives its rows, or one line that names what is wrong and what to do."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pandas
import pyarrow.parquet
import pytest

from gearshift.errors import DataError
from gearshift.trainer.data.rows import LabelSet, Row, Tags
from gearshift.trainer.data.splits import read_data

SAID = [("turn it on, please", "on"), ('say "hello"', "off"), ("a\tb", "off"), ("two\nlines", "on"), ("NA", "on")]
"""Texts that writers of tables quote, and one that readers take for a missing value."""
PLAIN = [("turn it on", "on"), ("turn it off", "off"), ("null", "off")]
WORDS = [Row("EU rejects it", None, Tags((0, 3, 11), ("B-ORG", "O", "O"))), Row("Peter", None, Tags((0,), ("B-PER",)))]


def texts(*rows: tuple[str, str]) -> list[Row]:
    return [Row(text, None, label) for text, label in rows]


def frame(rows: list[tuple[str, str]], *names: str) -> pandas.DataFrame:
    return pandas.DataFrame(rows, columns=list(names) or ["sentence", "label"])


def written(table: pandas.DataFrame, **options: Any) -> str:
    return str(table.to_csv(None, **{"index": False, **options}))


def parquet(table: pandas.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def named_parquet(**columns: Any) -> bytes:
    """A Parquet file as `datasets` writes it, with the names of integers."""
    values = {name: column[0] for name, column in columns.items()}
    features = datasets.Features({name: column[1] for name, column in columns.items()})
    buffer = io.BytesIO()
    datasets.Dataset.from_dict(values, features=features).to_parquet(buffer)
    return buffer.getvalue()


def damaged_parquet() -> bytes:
    """A Parquet file whose columns `datasets` described in bytes that are no text any more."""
    table = pyarrow.table({"text": ["a", "b"], "label": ["on", "off"]})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": b'{"info": \xb2}'}), buffer)
    return buffer.getvalue()


TEXT = datasets.Value("string")
SWITCH = datasets.ClassLabel(names=["off", "on"])
ENTITIES = datasets.List(datasets.ClassLabel(names=["O", "B-ORG", "B-PER"]))
CONLL = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\nit PRP B-NP O\n\nPeter NNP B-NP B-PER\n"
TWO = "EU\tB-ORG\nrejects\tO\nit\tO\n\nPeter\tB-PER\n\n\n"
SEVERAL = [LabelSet(("a", "b")), LabelSet(()), LabelSet(("b",))]
LONG = "word " * 40_000
"""A text of more characters than a field of Python's `csv` may have."""


@dataclass(frozen=True)
class File:
    """A file that is read, what must come of it, and a part of the note that must be said."""

    name: str
    content: str | bytes
    rows: list[Row]
    note: str = ""
    task: str = "classification"
    options: tuple[tuple[str, str], ...] = ()
    encoding: str = "utf-8"


def labelled(name: str, content: str | bytes, note: str = "", **rest: Any) -> File:
    return File(name, content, texts(*PLAIN), note, **rest)


def several(name: str, content: str, note: str = "", **rest: Any) -> File:
    rows = [Row(text, None, labels) for text, labels in zip("xyz", SEVERAL, strict=True)]
    return File(name, content, rows, note, "multi-label-classification", **rest)


def words(name: str, content: str | bytes, note: str = "", **rest: Any) -> File:
    return File(name, content, WORDS, note, "token-classification", **rest)


HOT = "id,comment_text,a,b\n7,x,1,1\n8,y,0,0\n9,z,0,1\n"
OBJECTS = [{"sentence": text, "label": label} for text, label in PLAIN]
TABLE = written(frame(PLAIN))
QUOTED = "read as quoted TSV"

FILES = {
    # Quotes and separators
    "pandas' TSV": File("train.tsv", written(frame(SAID), sep="\t"), texts(*SAID), QUOTED),
    "pandas' TSV, all quoted": labelled("train.tsv", written(frame(PLAIN), sep="\t", quoting=csv.QUOTE_ALL), QUOTED),
    "pandas' TSV, doubled quotes alone": File(
        "train.tsv",
        written(frame([('say "hello"', "on"), ('"yes" or "no"', "off")]), sep="\t"),
        texts(('say "hello"', "on"), ('"yes" or "no"', "off")),
        QUOTED,
    ),
    "Excel's TSV, commas quoted": File(
        "train.tsv",
        'sentence\tlabel\r\n"Well, yes"\ton\r\nno\toff\r\n"a ""b"" c"\ton\r\n',
        texts(("Well, yes", "on"), ("no", "off"), ('a "b" c', "on")),
        QUOTED,
    ),
    "R's table": labelled(
        "train.tsv",
        '"sentence"\t"label"\n"1"\t"turn it on"\t"on"\n"2"\t"turn it off"\t"off"\n"3"\t"null"\t"off"\n',
        "the first field of each row, its number",
    ),
    "TSV without quoting, quotes within": File(
        "train.tsv",
        'sentence\tlabel\na "fine" film\ton\n" bad\toff\n"good" and "bad"\toff\n',
        texts(('a "fine" film', "on"), ('" bad', "off"), ('"good" and "bad"', "off")),
    ),
    "TSV without quoting, a title in quotes": File(
        "train.tsv",
        'sentence\tlabel\n"Great!"\ton\nbad, very bad\toff\n',
        texts(('"Great!"', "on"), ("bad, very bad", "off")),
        "train.tsv:2: quotes around fields are read as text; if they are no text, save the file as .csv",
    ),
    "TSV without quoting, quotes over a separator": File(
        "train.tsv", 'sentence\tlabel\n"open\ton\nshut"\toff\n', texts(('"open', "on"), ('shut"', "off"))
    ),
    "pandas' CSV": File("train.csv", written(frame(SAID)), texts(*SAID)),
    "pandas' CSV, its index": labelled("train.csv", written(frame(PLAIN), index=True)),
    "pandas' CSV, read and written again": labelled(
        "train.csv", "Unnamed: 0,sentence,label\n" + "".join(f"{i},{t},{y}\n" for i, (t, y) in enumerate(PLAIN))
    ),
    "CSV with escaped quotes": File(
        "train.csv",
        'sentence,label\n"say \\"hello\\", please",on\nbye,off\n',
        texts(('say "hello", please', "on"), ("bye", "off")),
        'quotes within fields are read as \\"',
    ),
    "semicolons": labelled("train.csv", written(frame(PLAIN), sep=";"), "separated by semicolons"),
    "tabs in .csv": labelled("train.csv", written(frame(PLAIN), sep="\t"), "separated by tabs"),
    "commas in .tsv": labelled("train.tsv", TABLE, "separated by commas"),
    "Excel's sep=;": labelled("train.csv", "sep=;\r\n" + written(frame(PLAIN), sep=";")),
    "Excel's empty rows below": labelled("train.csv", TABLE + ",\n,\n"),
    "a separator behind each row": labelled(
        "train.csv", TABLE.replace("on\n", "on,\n").replace("off\n", "off,\n"), "every row ends with a separator"
    ),
    "a long field": File("train.csv", f"sentence,label\n{LONG},on\nshort,off\n", texts((LONG, "on"), ("short", "off"))),
    "a table in .txt": labelled("train.txt", written(frame(PLAIN), sep="\t")),
    # Names of files and columns
    "Train.CSV": labelled("Train.CSV", TABLE, "Train.CSV is train"),
    "TRAIN.Tsv": labelled("TRAIN.Tsv", written(frame(PLAIN), sep="\t")),
    "names in capitals": labelled("train.csv", TABLE.replace("sentence,label", "Sentence , Label"), "Sentence, Label"),
    "text and target": labelled(
        "train.csv", written(frame(PLAIN, "text", "target")), "reads the columns text, target"
    ),
    "content and category": labelled("train.csv", written(frame(PLAIN, "content", "category"))),
    "utterance and intent": labelled("train.csv", written(frame(PLAIN, "utterance", "intent"))),
    "premise and hypothesis": File(
        "train.csv",
        "idx,premise,hypothesis,label\n1,a,b,on\n2,c,d,off\n",
        [Row("a", "b", "on"), Row("c", "d", "off")],
        "reads the columns premise, hypothesis, label, and not idx",
    ),
    "sentence1 and sentence2": File(
        "train.csv", "sentence1,sentence2,label\na,b,on\nc,d,off\n", [Row("a", "b", "on"), Row("c", "d", "off")]
    ),
    "a column twice, with the same values": labelled(
        "train.csv", "sentence,label,label\n" + "".join(f"{t},{y},{y}\n" for t, y in PLAIN)
    ),
    "a column twice that nobody reads": labelled(
        "train.csv", "sentence,label,x,x\n" + "".join(f"{t},{y},1,2\n" for t, y in PLAIN)
    ),
    "two columns of texts": labelled(
        "train.csv", "sentence,title,label\n" + "".join(f"{t},news,{y}\n" for t, y in PLAIN), "and not title"
    ),
    # Encodings and compression
    "UTF-8 with a mark": labelled("train.csv", TABLE, encoding="utf-8-sig"),
    "UTF-16": labelled("train.csv", TABLE, encoding="utf-16"),
    "UTF-16, big end first": labelled("train.csv", "\ufeff" + TABLE, encoding="utf-16-be"),
    "line ends of old Macs": labelled("train.tsv", written(frame(PLAIN), sep="\t").replace("\n", "\r")),
    ".csv.gz": labelled("train.csv.gz", gzip.compress(TABLE.encode())),
    ".CSV.GZ": labelled("train.CSV.GZ", gzip.compress(TABLE.encode())),
    ".csv.bz2": labelled("train.csv.bz2", bz2.compress(TABLE.encode())),
    # JSON and Parquet
    "a list in .json": labelled("train.json", json.dumps(OBJECTS, indent=2)),
    "lines in .json": labelled("train.json", "".join(json.dumps(one) + "\n" for one in OBJECTS)),
    "one object in .json": labelled("train.json", json.dumps({"version": "1", "data": OBJECTS})),
    "pandas' .json": labelled("train.json", frame(PLAIN).to_json()),
    "pandas' .json, split": labelled("train.json", frame(PLAIN).to_json(orient="split")),
    "pandas' .json, lists": labelled("train.json", json.dumps(frame(PLAIN).to_dict("list"))),
    "a list in .jsonl": labelled("train.jsonl", json.dumps(OBJECTS, indent=1)),
    ".ndjson": labelled("train.ndjson", "".join(json.dumps(one) + "\n" for one in OBJECTS)),
    ".parquet": labelled("train.parquet", parquet(frame(PLAIN))),
    ".parquet with names of integers": File(
        "train.parquet",
        named_parquet(text=(["a", "b"], TEXT), label=([1, 0], SWITCH)),
        texts(("a", "on"), ("b", "off")),
    ),
    # Labels
    "integers": File("train.csv", "text,label\na,10\nb,2\n", texts(("a", "10"), ("b", "2"))),
    "integers that pandas made floats": File(
        "train.csv", "text,label\na,1.0\nb,0.0\n", texts(("a", "1"), ("b", "0")), "read as integers"
    ),
    "floats of JSON that are whole": File(
        "train.jsonl", '{"text": "a", "label": 1.0}\n{"text": "b", "label": 0}\n', texts(("a", "1"), ("b", "0"))
    ),
    "booleans": File("train.parquet", parquet(pandas.DataFrame({"text": ["a", "b"], "label": [True, False]})),
                     texts(("a", "true"), ("b", "false"))),
    "words that mean missing elsewhere": File(
        "train.csv", "text,label\nNA,None\nnan,null\n", texts(("NA", "None"), ("nan", "null"))
    ),
    "integers with names": File(
        "train.csv", "text,label\na,1\nb,0\n", texts(("a", "on"), ("b", "off")), options=(("label_names", "off,on"),)
    ),
    # Several labels
    "lists of Python": several("train.csv", "sentence,labels\nx,\"['a', 'b']\"\ny,[]\nz,\"['b']\"\n"),
    "lists of JSON": several("train.tsv", 'sentence\tlabels\nx\t["a", "b"]\ny\t[]\nz\t["b"]\n'),
    "lists of numpy": several("train.csv", "sentence,labels\nx,['a' 'b']\ny,[]\nz,['b']\n"),
    "tuples and sets of Python": several("train.csv", "sentence,labels\nx,\"{'a', 'b'}\"\ny,()\nz,\"('b',)\"\n"),
    "bars": several("train.csv", "sentence,labels\nx,a|b\ny,\nz,b\n"),
    "columns of 0 and 1": several("train.csv", HOT, "its labels are the columns a, b"),
    "columns of 0 and 1 that are named": several(
        "train.csv", HOT.replace("a,b\n", "a,b,c\n").replace("1\n", "1,5\n").replace("0\n", "0,5\n"),
        options=(("label_column", "a,b"),),
    ),
    "columns of booleans": several("train.csv", HOT.replace(",1", ",True").replace(",0", ",False")),
    # Words
    "CoNLL-2003": words("train.txt", CONLL, "of 4 columns, 1 is read as the words and 4 as the tags"),
    "CoNLL, two columns": words("train.conll", TWO),
    "CoNLL in .tsv": words("train.tsv", TWO),
    "CoNLL, blanks between": words("train.bio", TWO.replace("\t", " ")),
    "CoNLL, lines of Windows": words("train.iob2", TWO.replace("\n", "\r\n")),
    "CoNLL, comments and numbers": words(
        "train.conll",
        "# id 5\n1\tEU\tB-ORG\n2\trejects\tO\n3\tit\tO\n\n# id 6\n1\tPeter\tB-PER\n",
        "of 3 columns, 2 is read as the words and 3 as the tags",
    ),
    "CoNLL, a column that is named": words(
        "train.conll", CONLL.replace("NNP", "B-X"), options=(("label_column", "4"),)
    ),
    "CoNLL-U": File(
        "train.conllu",
        "# text = dámelo ya\n1-2\tdámelo\t_\t_\t_\t_\t_\t_\t_\t_\n1\tda\tdar\tVERB\t_\t_\t0\troot\t_\t_\n"
        "2\tlo\tél\tPRON\t_\t_\t1\tobj\t_\tSpaceAfter=No\n",
        [Row("da lo", None, Tags((0, 3), ("VERB", "PRON")))],
        "of 10 columns, 2 is read as the words and 4 as the tags",
        "token-classification",
    ),
    "tags that are integers, with names": words(
        "train.parquet",
        named_parquet(
            tokens=([["EU", "rejects", "it"], ["Peter"]], datasets.List(TEXT)),
            ner_tags=([[1, 0, 0], [2]], ENTITIES),
        ),
    ),
    "tags that are integers, named": words(
        "train.jsonl",
        '{"tokens": ["EU", "rejects", "it"], "ner_tags": [1, 0, 0]}\n{"tokens": ["Peter"], "ner_tags": [2]}\n',
        options=(("label_names", "O,B-ORG,B-PER"),),
    ),
    "lists of words in CSV": words(
        "train.csv", "tokens,ner_tags\n\"['EU', 'rejects', 'it']\",\"['B-ORG', 'O', 'O']\"\n['Peter'],['B-PER']\n"
    ),
    "words with blanks between in CSV": words("train.csv", "words,tags\nEU rejects it,B-ORG O O\nPeter,B-PER\n"),
}  # fmt: skip


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_file_as_people_have_it_gives_its_rows(tmp_path: Path, file: File) -> None:
    raw = file.content if isinstance(file.content, bytes) else file.content.encode(file.encoding)
    (tmp_path / file.name).write_bytes(raw)
    suffix = file.name[len("train") :]
    for split in ("dev", "test"):
        (tmp_path / (split + suffix)).write_bytes(raw)
    data = read_data(tmp_path, task=file.task, **dict(file.options))  # type: ignore[arg-type]
    assert list(data.splits["train"]) == file.rows
    assert list(data.splits["test"]) == file.rows
    assert file.note in "\n".join(data.notes)
    assert all("\n" not in note for note in data.notes)


HEADER = "sentence,label\n"
REFUSED: dict[str, tuple[str, str | bytes, str, str]] = {
    "Latin-1": (
        "train.csv",
        f"{HEADER}a,on\ncafé,off\n".encode("latin-1"),
        "classification",
        r"train\.csv:3: not UTF-8 \(.*'é' in Latin-1\); .*iconv -f WINDOWS-1252 -t UTF-8 train\.csv > new-train\.csv",
    ),
    "UTF-16 without a mark": (
        "train.csv",
        f"{HEADER}a,on\n".encode("utf-16-be"),
        "classification",
        r"train\.csv:1: not UTF-8 .* as in UTF-16BE\); .*iconv -f UTF-16BE",
    ),
    "a sheet": ("train.xlsx", b"PK", "classification", r"no training file; .* found train\.xlsx"),
    "a Git LFS pointer": (
        "train.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "classification",
        r"train\.csv: is a Git LFS pointer and holds no rows; run: git lfs pull",
    ),
    "a line of many words and no header": (
        "train.csv", LONG, "classification", r"train\.csv: no rows"
    ),
    "a cut gzip": ("train.csv.gz", gzip.compress(b"sentence,label\na,on\n")[:-6], "classification", "not a whole gzip"),
    "no Parquet": ("train.parquet", b"sentence", "classification", r"train\.parquet: not a whole Parquet file"),
    "Parquet with damaged names of integers": (
        "train.parquet",
        damaged_parquet(),
        "classification",
        r"train\.parquet: not a Parquet file that `datasets` reads \(.*\); save it again",
    ),
    "a missing text": ("train.csv", f"{HEADER}a,on\n,off\n", "classification", r"train\.csv:3: empty text in 'sent"),
    "a missing label": ("train.csv", f"{HEADER}a,on\nb,\n", "classification", r"train\.csv:3: empty label in 'label'"),
    "a missing text of Parquet": (
        "train.parquet",
        parquet(pandas.DataFrame({"sentence": ["a", None], "label": ["on", "off"]})),
        "classification",
        r"train\.parquet:2: expected a text in 'sentence', got NoneType",
    ),
    "a column twice": ("train.csv", "sentence,label,label\na,x,y\n", "classification", r"train\.csv:1: .* twice: 'lab"),
    "a list that is none": (
        "train.csv",
        'sentence,labels\nx,"[a, b]"\n',
        "multi-label-classification",
        r"train\.csv:2: expected a list such as \['a', 'b'\] in 'labels', got '\[a, b\]'; quote its labels",
    ),
    "a column of 0 and 1 that has more": (
        "train.csv",
        "text,a,b\nx,1,0\ny,0,-1\n",
        "multi-label-classification",
        r"train\.csv:1: no column 'labels' or 'label'; found text, a, b",
    ),
    "CoNLL with a word without tag": (
        "train.conll",
        "EU B-ORG\nrejects\n\nPeter B-PER\n",
        "token-classification",
        r"train\.conll:2: expected 2 columns as on the first line, got 1; correct it",
    ),
    "CoNLL with words alone": (
        "train.conll", "EU\nrejects\n", "token-classification", r"train\.conll:1: expected a word and its tag"
    ),
    "several splits in one file": (
        "train.json",
        json.dumps({"train": OBJECTS, "test": OBJECTS}),
        "classification",
        r"train\.json: holds several splits \(train, test\); write a file for each",
    ),
    "names of columns that are no texts": (
        "train.json", '{"columns": [7, null], "data": [["a", "on"], ["b", "off"]]}', "classification",
        r"train\.json:1: no column 'sentence'; found 7, None",
    ),
    "rows of another length under names that are no texts": (
        "train.json", '{"columns": [[7], null], "data": [["a"]]}', "classification",
        r"train\.json: row 1: expected 2 values \(.*\[7\].*\); correct it",
    ),
    "columns of different lengths": (
        "train.json", '{"sentence": ["a"], "label": ["on", "off"]}', "classification", r"columns of different lengths"
    ),
    "text that is no table": (
        "train.txt", "just a text\n", "classification", r"train\.txt:1: expected a header line with the names"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "task", "message"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_cannot_be_read_gives_one_line(
    tmp_path: Path, name: str, content: str | bytes, task: str, message: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as caught:
        read_data(tmp_path, task=task)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_labels_with_commas_are_one_label_and_a_warning_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text('sentence,labels\nw,a\nx,"a,b"\ny,b\nz,b\n')
    data = read_data(tmp_path / "all.csv", task="multi-label-classification")
    assert (
        f"{tmp_path}/all.csv:3: 'a,b' is read as one label; write a|b or ['a', 'b'] where it is several" in data.notes
    )


def test_lists_of_labels_where_one_is_expected_are_told_with_line_and_remedy(tmp_path: Path) -> None:
    lists = ["['a']", "['a', 'b']", "['b']"]
    rows = [(f"text {number}", lists[number % 3]) for number in range(12)]
    (tmp_path / "all.csv").write_text(written(frame(rows)))
    data = read_data(tmp_path / "all.csv")
    assert (
        f"{tmp_path}/all.csv:2: \"['a']\" is read as one label; lists of labels are for "
        "--task multi-label-classification" in data.notes
    )


@pytest.mark.parametrize("label", ["(a)", "[UNK]", "[0-5]", "a, b"])
def test_a_label_that_is_no_list_is_no_reason_for_a_warning(tmp_path: Path, label: str) -> None:
    (tmp_path / "all.csv").write_text(written(frame([(f"text {n}", (label, "c")[n % 2]) for n in range(12)])))
    assert not any("is read as one label" in note for note in read_data(tmp_path / "all.csv").notes)


# Folders


def folder_of(
    folder: Path, *names: str, content: Callable[[str], str] = lambda name: f"text,label\n{name},a\nx,b\n"
) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(content(name))
    return folder


FOLDERS = {
    "val": (("train.csv", "val.csv", "test.csv"), ("train.csv", "val.csv", "test.csv"), "val.csv is dev"),
    "eval": (("train.csv", "eval.csv", "test.csv"), ("train.csv", "eval.csv", "test.csv"), "eval.csv is dev"),
    "eval beside dev": (
        ("train.csv", "dev.csv", "eval.csv", "test.csv"), ("train.csv", "dev.csv", "test.csv"),
        "dev.csv is dev, test.csv is test; not read: eval.csv"
    ),
    "development": (
        ("train.csv", "development.csv", "test.csv"), ("train.csv", "development.csv", "test.csv"), "development.csv is"
    ),
    "Training and Validation": (
        ("Training.csv", "Validation.CSV", "Testing.csv"), ("Training.csv", "Validation.CSV", "Testing.csv"),
        "Training.csv is train, Validation.CSV is dev, Testing.csv is test",
    ),
    "the name of the set before": (
        ("atis_train.csv", "atis_dev.csv", "atis_test.csv"), ("atis_train.csv", "atis_dev.csv", "atis_test.csv"),
        "atis_train.csv is train",
    ),
    "a version behind": (
        ("train-v1.1.csv", "dev-v1.1.csv", "test-v1.1.csv"), ("train-v1.1.csv", "dev-v1.1.csv", "test-v1.1.csv"),
        "dev-v1.1.csv is dev"
    ),
    "others beside": (
        ("train.csv", "dev.csv", "test.csv", "unlabelled.csv", "train_old.csv"), ("train.csv", "dev.csv", "test.csv"),
        "not read: train_old.csv, unlabelled.csv",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("names", "taken", "note"), FOLDERS.values(), ids=FOLDERS)
def test_the_splits_of_a_folder_are_found_by_their_names_and_a_note_says_which(
    tmp_path: Path, names: tuple[str, ...], taken: tuple[str, ...], note: str
) -> None:
    data = read_data(folder_of(tmp_path / "data", *names))
    assert tuple(rows[0].text for rows in data.splits.values()) == taken
    assert any(note in said for said in data.notes)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train.csv", "val.csv", "valid.csv"), "valid.csv, val.csv could each be the dev split"),
        (("a_train.csv", "b_train.csv"), "a_train.csv, b_train.csv could each be the train split"),
        (("train_a.csv", "dev.csv"), "no training file; .* found dev.csv, train_a.csv"),
    ],
)
def test_a_folder_that_could_be_read_in_two_ways_is_refused(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_data(folder_of(tmp_path / "data", *names))


def switches(count: int) -> datasets.Dataset:
    columns = {"text": [f"text {number}" for number in range(count)], "label": [n % 2 for n in range(count)]}
    return datasets.Dataset.from_dict(columns, features=datasets.Features({"text": TEXT, "label": SWITCH}))


def test_a_folder_that_datasets_saved_has_its_splits_and_the_names_of_labels(tmp_path: Path) -> None:
    parts = {"train": switches(8), "validation": switches(2), "test": switches(4)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    data = read_data(tmp_path / "saved")
    assert [len(rows) for rows in data.splits.values()] == [8, 2, 4]
    assert data.labels == ("off", "on") and data.splits["test"][3] == Row("text 3", None, "on")


def test_a_data_set_that_datasets_saved_is_split(tmp_path: Path) -> None:
    switches(40).save_to_disk(tmp_path / "saved")
    data = read_data(tmp_path / "saved")
    assert [len(rows) for rows in data.splits.values()] == [32, 4, 4] and data.labels == ("off", "on")


def test_the_parts_of_a_split_are_read_together_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(2):
        switches(3 + number).to_parquet(tmp_path / "data" / f"train-0000{number}-of-00002.parquet")
    switches(2).to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    data = read_data(tmp_path)  # the folder of a data set as it lies on the hub
    assert len(data.splits["train"]) + len(data.splits["dev"]) == 7 and len(data.splits["test"]) == 2
    (tmp_path / "data" / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="expected 2 parts of the train split, found 1; copy all"):
        read_data(tmp_path)


# Names of integers


INFO = {"features": {"text": {"dtype": "string"}, "label": {"names": ["off", "on"], "_type": "ClassLabel"}}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dataset_info.json", json.dumps(INFO)),
        ("dataset_infos.json", json.dumps({"default": INFO})),
        ("labels.txt", "off\non\n"),
    ],
)
def test_a_file_beside_the_data_names_integers_and_a_note_says_so(tmp_path: Path, name: str, content: str) -> None:
    folder_of(tmp_path, "train.csv", "dev.csv", "test.csv", content=lambda name: "text,label\na,1\nb,0\n")
    (tmp_path / name).write_text(content)
    data = read_data(tmp_path)
    assert data.labels == ("off", "on") and data.splits["train"][0].label == "on"
    assert data.notes[-1] == f"{tmp_path / name}: labels are named by it"


def test_names_beside_the_data_that_do_not_fit_are_not_used_and_a_note_says_so(tmp_path: Path) -> None:
    folder_of(tmp_path, "train.csv", "dev.csv", "test.csv", content=lambda name: "text,label\na,1\nb,2\n")
    (tmp_path / "labels.txt").write_text("off\non\n")
    data = read_data(tmp_path)
    assert data.labels == ("1", "2")
    assert "its 2 names are not those of the labels 1, 2; not used" in data.notes[-1]


def test_names_that_are_given_must_fit_and_are_kept_with_the_data(tmp_path: Path) -> None:
    folder_of(tmp_path, "train.csv", "dev.csv", "test.csv", content=lambda name: "text,label\na,1\nb,2\n")
    (tmp_path / "names.json").write_text('{"none": 0, "off": 1, "on": 2}')
    data = read_data(tmp_path, label_names=str(tmp_path / "names.json"))
    assert data.labels == ("off", "on")
    assert read_data(data.facts["data"], **data.facts["columns"]) == data
    with pytest.raises(DataError, match=r"train\.csv: expected labels from 0 to 1, .* found 2"):
        read_data(tmp_path, label_names="off,on")
    with pytest.raises(DataError, match=r"label names: expected two or more, each once, .* got 'on,on'"):
        read_data(tmp_path, label_names="on,on")
