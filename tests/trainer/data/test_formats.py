"""Reading records from files: every format, and one line for everything that is wrong in it."""

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import pytest

from gearshift.errors import DataError
from gearshift.trainer.data.formats import SUFFIXES, Record, listed, read_records

NAMES = ("sentence", "label")
TABLE = (
    ("turn on the light", "on"),
    ('say "hello", please', "off"),
    ("café\u2028au lait", "off"),  # U+2028: a line separator that ends no line of a file
)
HEADER = "sentence\tlabel\n"


def render(names: Sequence[str], table: Sequence[Sequence[str]], suffix: str) -> bytes:
    """The table as a file of that suffix."""
    kind, _, packing = suffix[1:].partition(".")
    if kind == "parquet":
        return parquet(names, table)
    if kind == "tsv":
        text = "".join("\t".join(fields) + "\n" for fields in [names, *table])
    elif kind == "csv":
        quoted = [[f'"{field.replace(chr(34), chr(34) * 2)}"' for field in fields] for fields in [names, *table]]
        text = "".join(",".join(fields) + "\r\n" for fields in quoted)
    else:
        objects = [dict(zip(names, fields, strict=True)) for fields in table]
        lines = [json.dumps(values, ensure_ascii=False) for values in objects]
        text = "[" + ",\n".join(lines) + "]" if kind == "json" else "".join(f"{line}\n" for line in lines)
    return PACKERS[packing](text.encode())


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "xz": lzma.compress,
    "gz": gzip.compress,
    "bz2": bz2.compress,
}


def parquet(names: Sequence[str], table: Sequence[Sequence[str]]) -> bytes:
    columns = dict(zip(names, map(list, zip(*table, strict=True)), strict=True))
    buffer = io.BytesIO()
    datasets.Dataset.from_dict(columns).to_parquet(buffer)
    return buffer.getvalue()


def read(folder: Path, name: str, content: str | bytes) -> list[Record]:
    """The records of a file with that name and content."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_records(path, NAMES))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_records(tmp_path: Path, suffix: str) -> None:
    records = read(tmp_path, f"train{suffix}", render(NAMES, TABLE, suffix))
    assert [values for _, values in records] == [dict(zip(NAMES, fields, strict=True)) for fields in TABLE]
    first = 2 if suffix.startswith((".tsv", ".csv")) else 1
    assert [line for line, _ in records] == [first, first + 1, first + 2]


def test_columns_that_nobody_asked_for_are_there_too(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", "label,id,sentence\nx,1,one\n") == [
        (2, {"label": "x", "id": "1", "sentence": "one"})
    ]


def test_quotes_are_plain_characters_in_tsv(tmp_path: Path) -> None:
    records = read(tmp_path, "train.tsv", HEADER + '"open\tx\nb"\ty\n')
    assert [values["sentence"] for _, values in records] == ['"open', 'b"']


def test_a_field_of_csv_may_hold_line_breaks(tmp_path: Path) -> None:
    records = read(tmp_path, "train.csv", 'sentence,label\n"a\nb",x\nc,y\n')
    assert [(line, values["sentence"]) for line, values in records] == [(2, "a\nb"), (4, "c")]


@pytest.mark.parametrize("name", ["train.tsv", "train.csv"])
def test_a_windows_file_with_a_byte_order_mark_is_read(tmp_path: Path, name: str) -> None:
    separator = "\t" if name.endswith("tsv") else ","
    lines = (separator.join(fields) + "\r\n" for fields in [NAMES, ("a", "x"), ("b", "y")])
    records = read(tmp_path, name, "\ufeff" + "".join(lines))
    assert records == [(2, {"sentence": "a", "label": "x"}), (3, {"sentence": "b", "label": "y"})]


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".parquet"])
@pytest.mark.parametrize("end", ["", "\n\n", "\r\n \r\n"])
def test_the_last_line_needs_no_line_break_and_empty_lines_behind_it_are_no_rows(
    tmp_path: Path, suffix: str, end: str
) -> None:
    kind, _, packing = suffix[1:].partition(".")
    content = render(NAMES, TABLE, f".{kind}").rstrip() + end.encode()
    assert len(read(tmp_path, f"train{suffix}", PACKERS[packing](content))) == len(TABLE)


def test_a_value_of_jsonl_keeps_its_type(tmp_path: Path) -> None:
    assert read(tmp_path, "a.jsonl", '{"sentence": 5, "label": null}') == [(1, {"sentence": 5, "label": None})]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.tsv", "sentence\tgold\na\tx\n", r"train\.tsv:1: no column 'label'; found sentence, gold"),
        ("train.tsv", "text\tlabel\na\tx\n", r"train\.tsv:1: no column 'sentence'; found text, label"),
        ("train.tsv", "label\tlabel\na\tx\n", r"train\.tsv:1: a column is named twice"),
        ("train.tsv", HEADER + "a\tx\nb\n", r"train\.tsv:3: expected 2 fields \(sentence, label\), got 1"),
        ("train.tsv", HEADER + "a\tx\ty\n", r"train\.tsv:2: expected 2 fields \(sentence, label\), got 3"),
        ("train.tsv", HEADER + "a\tx\n\nb\ty\n", r"train\.tsv:3: empty row"),
        ("train.tsv", "", r"train\.tsv:1: no header line"),
        ("train.csv", 'sentence,label\n"a\nb",x\nc\n', r"train\.csv:4: expected 2 fields"),
        ("train.csv", "sentence,label\na,x\n\nb,y\n", r"train\.csv:3: empty row"),
        ("train.csv", 'sentence,label\na,x\n"b,y\n', r"train\.csv:3: not CSV: unexpected end of data"),
        ("train.csv", "", r"train\.csv:1: no header line"),
        ("train.jsonl", '{"sentence": "a", "label": "x"}\n{"sent', r"train\.jsonl:2: not JSON: .* column 2"),
        ("train.jsonl", '{"sentence": "a", "label": "x"}\n\n{}', r"train\.jsonl:2: empty row"),
        ("train.jsonl", '"a"\n', r"train\.jsonl:1: expected a JSON object, got str"),
        ("train.jsonl", '["a", "x"]\n', r"train\.jsonl:1: expected a JSON object, got list"),
        ("train.json", '[{"sentence": "a", "label": "x"},\n"b"]', r"train\.json:2: expected a JSON object, got str"),
        ("train.json", '[{"sentence": "a", "label": "x"},\n{"sentence":', r"train\.json:2: not JSON"),
        ("train.json", '[{"sentence": "a", "label": "x"},\n', r"train\.json:2: .* the list does not end"),
        ("train.json", "5", r"train\.json: expected a list of objects, or an object with 'data', got int"),
        (
            "train.jsonl",
            '{"sentence": "a", "gold": 1}\n',
            r"train\.jsonl:1: no column 'label'; found sentence, gold",
        ),
        (
            "train.jsonl",
            '{"sentence": "a", "label": ' + "1" * 5000 + "}",
            r"train\.jsonl:1: JSON that cannot be",
        ),
        ("train.jsonl", "[" * 100_000, r"train\.jsonl:1: JSON that cannot be read"),
    ],
)
def test_bad_content_is_one_line_with_file_and_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, name, content)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"sentence\tlabel\na\tx\nb\xff\ty\n", r":3: not UTF-8"),
        (b"\xef\xbb\xbfsentence\tlabel\nb\xff\ty\n", r":2: not UTF-8"),
        ("sentence\tlabel\na\tx\n".encode("utf-16-le"), r":1: not UTF-8 .* as in UTF-16LE.* iconv -f UTF-16LE"),
    ],
)
def test_a_file_that_is_not_utf8_is_named_with_its_line(tmp_path: Path, raw: bytes, message: str) -> None:
    with pytest.raises(DataError, match=r"train\.tsv" + message):
        read(tmp_path, "train.tsv", raw)


@pytest.mark.parametrize(
    "raw", [render(NAMES, TABLE, ".tsv.xz")[:-5], b"not xz at all", b""], ids=["cut", "other", "empty"]
)
def test_a_broken_xz_file_is_named(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(DataError, match=r"train\.tsv\.xz: not a whole xz file"):
        read(tmp_path, "train.tsv.xz", raw)


@pytest.mark.parametrize("name", ["data", "data.tsv.zip", "data.xz", "tsv", "data.xlsx"])
def test_an_unknown_suffix_lists_those_that_are_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name}: unknown suffix; expected \.tsv, \.csv, \.jsonl, "):
        read(tmp_path, name, HEADER + "a\tx\n")


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").mkdir()  # opening a folder as a file fails for every user
    with pytest.raises(DataError, match=r"train\.tsv: cannot be read: Is a directory"):
        list(read_records(tmp_path / "train.tsv", NAMES))


def test_of_many_names_the_first_dozen_are_listed() -> None:
    assert listed([]) == "nothing"
    assert listed({"b", "a"}) == "a, b"
    assert listed([str(number) for number in range(14)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more"
