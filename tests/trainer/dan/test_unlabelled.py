"""Texts without labels."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from gearshift.errors import DataError
from gearshift.trainer.dan.teacher_logits import read_unlabelled


@pytest.mark.parametrize("name", ["more.txt", "more.txt.xz"])
def test_a_plain_file_has_a_text_a_line(tmp_path: Path, name: str) -> None:
    content = b"ice and sun\n\n  \nspring \n"
    (tmp_path / name).write_bytes(lzma.compress(content) if name.endswith(".xz") else content)
    assert read_unlabelled(tmp_path / name) == ("ice and sun", "spring")


def test_a_table_has_them_in_the_columns_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "more.tsv").write_text("label\tsentence2\tsentence\na\tsnow\tice\nb\t \tsun\n", encoding="utf-8")
    assert read_unlabelled(tmp_path / "more.tsv") == ("ice", "sun")
    assert read_unlabelled(tmp_path / "more.tsv", paired=True) == (("ice", "snow"),)
    (tmp_path / "more.jsonl").write_text('{"one": "ice", "other": "snow"}\n', encoding="utf-8")
    named = {"text_column": "one", "pair_column": "other"}
    assert read_unlabelled(tmp_path / "more.jsonl", paired=True, **named) == (("ice", "snow"),)


def test_pairs_need_a_table_and_text(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("ice\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"more\.txt"):
        read_unlabelled(tmp_path / "more.txt", paired=True)
    (tmp_path / "more.jsonl").write_text('{"sentence": 3}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"more\.jsonl:1: expected text in sentence, found \[3\]"):
        read_unlabelled(tmp_path / "more.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        read_unlabelled(tmp_path / "none.txt")
