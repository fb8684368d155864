"""Files that take the place of others: whole or not at all, and never through a link."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gearshift.fresh_file import fresh_file


def write(target: Path, content: bytes = b"new") -> None:
    with fresh_file(target) as file:
        file.write(content)


def test_a_file_is_written_under_another_name_each_time_and_takes_its_own_when_it_is_whole(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        with fresh_file(tmp_path / "x.json") as file:
            file.write(b"new")
            (beside,) = [path for path in tmp_path.iterdir() if path.name != "x.json"]
            names.add(beside.name)
            assert re.fullmatch(r"\.x\.json\.[0-9a-f]{16}\.new", beside.name)
        assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert len(names) == 3


def test_an_error_leaves_the_old_file_alone(tmp_path: Path) -> None:
    write(tmp_path / "x", b"old")
    with pytest.raises(KeyError), fresh_file(tmp_path / "x") as file:
        file.write(b"half")
        raise KeyError
    assert (tmp_path / "x").read_bytes() == b"old" and [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("kind", ["file", "link", "link to nowhere", "pipe"])
def test_whatever_has_the_name_is_replaced_and_what_it_links_stays(tmp_path: Path, kind: str) -> None:
    mine, target = tmp_path / "mine", tmp_path / "x"
    mine.write_bytes(b"precious")
    if kind == "pipe":
        os.mkfifo(target)
    elif kind == "file":
        target.write_bytes(b"old")
    else:
        target.symlink_to(mine if kind == "link" else tmp_path / "nowhere")
    write(target)
    assert target.read_bytes() == b"new" and not target.is_symlink()
    assert mine.read_bytes() == b"precious" and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "a"])
def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"new"


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_a_file_has_the_permissions_that_files_of_the_user_have(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "x")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~mask
