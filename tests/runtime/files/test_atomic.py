"""Directories and files that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gearshift.errors import StorageError
from gearshift.runtime.files.atomic import (
    replace_file,
    replacing_directory,
    replacing_file,
    require_replaceable,
    sha256_of,
)
from tests.command_line import PATIENCE_S


def test_the_new_directory_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = _old(tmp_path)
    with replacing_directory(target, marker="old.txt") as fresh:
        (fresh / "new.txt").write_text("new")
        assert (target / "old.txt").read_text() == "old"
    assert sorted(path.name for path in target.iterdir()) == ["new.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_parents_are_made(tmp_path: Path) -> None:
    with replacing_directory(tmp_path / "a" / "b", marker="old.txt") as fresh:
        (fresh / "x").write_text("x")
    assert (tmp_path / "a" / "b" / "x").read_text() == "x"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("bad"), SystemExit(1)])
def test_an_interruption_leaves_the_old_directory(tmp_path: Path, error: BaseException) -> None:
    target = _old(tmp_path)
    with pytest.raises(type(error)), replacing_directory(target, marker="old.txt") as fresh:
        (fresh / "half.txt").write_text("half")
        raise error
    _assert_only_old(tmp_path)


def test_a_full_disk_leaves_the_old_directory_and_says_so_in_one_line(tmp_path: Path) -> None:
    target = _old(tmp_path)
    said = pytest.raises(StorageError, match=r"No space left on device.*nothing was changed there")
    with said as caught, replacing_directory(target, marker="old.txt") as fresh:
        (fresh / "half.txt").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "\n" not in str(caught.value)
    _assert_only_old(tmp_path)


def test_a_file_that_cannot_be_written_inside_is_a_storage_error(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="could not be written"),
        replacing_directory(tmp_path / "run", marker="old.txt") as fresh,
    ):
        (fresh / "no" / "such" / "folder").write_text("x")


def test_an_error_of_another_file_passes_through(tmp_path: Path) -> None:
    target = _old(tmp_path)
    with pytest.raises(FileNotFoundError), replacing_directory(target, marker="old.txt"):
        (tmp_path / "source.txt").read_text()
    _assert_only_old(tmp_path)


def test_an_error_while_renaming_brings_the_old_directory_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = _old(tmp_path)
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if ".new-" in self.name:
            raise OSError(errno.EIO, "input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with (
        pytest.raises(StorageError, match="input/output error"),
        replacing_directory(target, marker="old.txt") as fresh,
    ):
        (fresh / "new.txt").write_text("new")
    _assert_only_old(tmp_path)


def test_a_stop_between_the_two_renames_is_mended_by_the_next_writer(tmp_path: Path) -> None:
    target = _old(tmp_path)
    target.rename(tmp_path / ".run.old")
    with pytest.raises(ValueError, match="again"), replacing_directory(target, marker="old.txt"):
        assert (target / "old.txt").read_text() == "old"
        raise ValueError("stopped again")
    _assert_only_old(tmp_path)


def test_a_leftover_of_a_finished_replacement_is_removed(tmp_path: Path) -> None:
    target = _old(tmp_path)
    (tmp_path / ".run.old").mkdir()
    with replacing_directory(target, marker="old.txt") as fresh:
        (fresh / "new.txt").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_file_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("precious")
    with (
        pytest.raises(StorageError, match="a file is in the way"),
        replacing_directory(tmp_path / "run", marker="old.txt"),
    ):
        pass
    assert (tmp_path / "run").read_text() == "precious"


def test_a_directory_without_the_marker_is_not_replaced(tmp_path: Path) -> None:
    target = _old(tmp_path)
    said = pytest.raises(StorageError, match=r"not empty and has no manifest\.json")
    with said, replacing_directory(target, marker="manifest.json"):
        pass
    _assert_only_old(tmp_path)


@pytest.mark.parametrize("before", [[], ["manifest.json", "other.txt"]])
def test_an_empty_or_marked_directory_is_replaced(tmp_path: Path, before: list[str]) -> None:
    target = tmp_path / "run"
    target.mkdir()
    for name in before:
        (target / name).write_text("x")
    with replacing_directory(target, marker="manifest.json") as fresh:
        (fresh / "manifest.json").write_text("new")
    assert [path.name for path in target.iterdir()] == ["manifest.json"]


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    target = _old(tmp_path)
    link = tmp_path / "latest"
    link.symlink_to(target)
    with replacing_directory(link, marker="old.txt") as fresh:
        (fresh / "new.txt").write_text("new")
    assert link.is_symlink()
    assert (target / "new.txt").read_text() == "new"


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    replace_file(tmp_path / "a" / "x.json", b"one")
    replace_file(tmp_path / "a" / "x.json", b"two")
    assert (tmp_path / "a" / "x.json").read_bytes() == b"two"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x.json"
    replace_file(target, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        replace_file(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_link_to_a_file_stays_one_and_the_file_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real/x.json")
    (tmp_path / "again.json").symlink_to("link.json")
    replace_file(tmp_path / "again.json", b"new")
    assert (tmp_path / "link.json").is_symlink() and (tmp_path / "again.json").is_symlink()
    assert (tmp_path / "real" / "x.json").read_bytes() == b"new"
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["x.json"]


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_written_to_and_stays(tmp_path: Path, linked: bool) -> None:
    """A device too: root may replace `/dev/null` by a file, and would take it from everybody."""
    pipe = target = tmp_path / "pipe"
    os.mkfifo(pipe)
    if linked:
        target = tmp_path / "link"
        target.symlink_to(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        replace_file(target, b"content")
        assert os.read(reading, 100) == b"content"
    finally:
        os.close(reading)
    assert pipe.is_fifo() and target.is_symlink() == linked
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"pipe", target.name})


def test_standard_output_by_its_path_is_written_to(tmp_path: Path) -> None:
    """`/dev/stdout` is such a link; a test that fails must not replace that one."""
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    code = (
        "import sys\nfrom pathlib import Path\nfrom gearshift.runtime.files.atomic import replace_file\n"
        "replace_file(Path(sys.argv[1]), b'content')"
    )
    call = [sys.executable, "-c", code, str(tmp_path / "stdout")]
    done = subprocess.run(call, capture_output=True, check=True, timeout=PATIENCE_S)
    assert done.stdout == b"content"
    assert (tmp_path / "stdout").is_symlink()


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"x\.json: could not be written \(File too large\)"):
            replace_file(tmp_path / "x.json", bytes(2000))
        with (
            pytest.raises(StorageError, match=r"run: could not be written \(File too large\)"),
            replacing_directory(tmp_path / "run", marker="x") as fresh,
        ):
            (fresh / "x").write_bytes(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "x.json").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_file_where_a_folder_is_expected_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="could not be written"):
        replace_file(tmp_path / "file" / "x.json", b"new")


def test_a_directory_that_would_be_refused_can_be_refused_beforehand(tmp_path: Path) -> None:
    target = _old(tmp_path)
    for allowed in (tmp_path / "nowhere", tmp_path):
        require_replaceable(allowed, marker="run")
    require_replaceable(target, marker="old.txt")
    with pytest.raises(StorageError, match=r"the directory is not empty and has no manifest\.json"):
        require_replaceable(target, marker="manifest.json")
    with pytest.raises(StorageError, match="a file is in the way"):
        require_replaceable(target / "old.txt", marker="old.txt")
    _assert_only_old(tmp_path)


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def _old(tmp_path: Path) -> Path:
    target = tmp_path / "run"
    target.mkdir()
    (target / "old.txt").write_text("old")
    return target


def _assert_only_old(tmp_path: Path) -> None:
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["old.txt"]
    assert (tmp_path / "run" / "old.txt").read_text() == "old"


def test_a_time_limit_of_a_signal_handler_is_no_failure_to_write(tmp_path: Path) -> None:
    """A TimeoutError is an OSError too."""
    target = tmp_path / "file"
    replace_file(target, b"before")
    with pytest.raises(TimeoutError, match="of a signal handler"), replacing_file(target) as file:
        file.write(b"after")
        raise TimeoutError("of a signal handler")
    assert target.read_bytes() == b"before"
    assert [*tmp_path.iterdir()] == [target]
