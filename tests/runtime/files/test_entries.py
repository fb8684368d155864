"""Entries of the cache: whole or not there, and the ones used last stay."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gearshift.errors import StorageError
from gearshift.runtime.files.entries import ABANDONED_S, KEPT_ENTRIES, UNFINISHED, Entries
from gearshift.runtime.files.private import PRIVATE, holding


@pytest.fixture
def entries(tmp_path: Path) -> Entries:
    return Entries(tmp_path / "cache", "marker")


def add(entries: Entries, name: str) -> Path:
    place = entries.directory / name
    with entries.adding(place) as fresh:
        (fresh / "marker").write_text(name)
    return place


def test_what_was_filled_becomes_the_entry_on_leaving(entries: Entries) -> None:
    place = entries.directory / "one"
    with entries.adding(place) as fresh:
        (fresh / "marker").write_text("one")
        assert not place.exists() and list(entries.listed()) == []
    assert (place / "marker").read_text() == "one"
    assert list(entries.listed()) == [place] and not fresh.exists()


def test_an_error_leaves_nothing(entries: Entries) -> None:
    with pytest.raises(ValueError, match="damaged"), entries.adding(entries.directory / "one") as fresh:
        (fresh / "marker").write_text("one")
        raise ValueError("damaged")
    assert list(entries.directory.iterdir()) == []


def test_of_two_that_make_the_same_entry_the_first_stays(entries: Entries) -> None:
    with pytest.raises(FileExistsError), entries.adding(entries.directory / "one") as fresh:
        (fresh / "marker").write_text("late")
        add(entries, "one")
    assert (entries.directory / "one" / "marker").read_text() == "one"
    assert [path.name for path in entries.directory.iterdir()] == ["one"]


def test_the_entries_used_longest_ago_make_room(entries: Entries) -> None:
    for number in range(KEPT_ENTRIES + 2):
        place = add(entries, f"entry-{number}")
        os.utime(place / "marker", (number, number))
    kept = {place.name for place in entries.listed()}
    assert kept == {f"entry-{number}" for number in range(2, KEPT_ENTRIES + 2)}


def test_what_a_killed_process_left_goes_and_what_another_fills_stays_whatever_the_clock_says(entries: Entries) -> None:
    add(entries, "one")
    left, filled = (entries.directory / f"{UNFINISHED}{name}" for name in ("left", "filled"))
    left.mkdir()
    filled.mkdir()
    os.utime(filled, (0, 0))
    with holding(filled) as free:
        assert free
        add(entries, "two")
        assert not left.exists() and filled.exists()
    add(entries, "three")
    assert not filled.exists()


@pytest.mark.parametrize(("age_s", "goes"), [(ABANDONED_S - 60, False), (ABANDONED_S + 60, True)])
def test_without_locks_what_was_left_goes_by_its_age(
    entries: Entries, age_s: float, goes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lockless(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", lockless)
    add(entries, "one")
    left = entries.directory / f"{UNFINISHED}left"
    left.mkdir()
    then = left.stat().st_mtime - age_s
    os.utime(left, (then, then))
    add(entries, "two")
    assert left.exists() != goes
    assert {place.name for place in entries.listed()} == {"one", "two"}


@pytest.mark.parametrize("kind", ["file", "link to a file", "link to a directory", "link to nowhere", "pipe"])
def test_what_is_no_directory_in_the_place_of_an_entry_is_removed_and_what_it_links_stays(
    entries: Entries, kind: str, tmp_path: Path
) -> None:
    entries.directory.mkdir(PRIVATE)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "marker").write_text("precious")
    for place in (entries.directory / "one", entries.directory / f"{UNFINISHED}one"):
        odd(place, kind, mine)
    assert entries.listed() == {} and not entries.has(entries.directory / "one")
    add(entries, "one")
    assert list(entries.listed()) == [entries.directory / "one"]
    assert [path.name for path in entries.directory.iterdir()] == ["one"]
    assert (mine / "marker").read_text() == "precious"


def odd(place: Path, kind: str, mine: Path) -> None:
    """Put something at a place that is no directory."""
    if kind == "file":
        place.write_text("odd")
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        targets = {"link to a file": mine / "marker", "link to a directory": mine, "link to nowhere": mine / "no"}
        place.symlink_to(targets[kind])


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_directory_that_others_can_write_to_is_not_used(entries: Entries, mode: int) -> None:
    add(entries, "one")
    entries.directory.chmod(mode)
    for call in (entries.listed, entries.clear, lambda: add(entries, "two"), lambda: entries.has(entries.directory)):
        with pytest.raises(StorageError, match=rf"permissions {mode:o}; chmod 700 .*GEARSHIFT_CACHE_DIR"):
            call()
    assert [path.name for path in entries.directory.iterdir()] == ["one"]


def test_new_directories_are_private_also_those_above(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        add(Entries(tmp_path / "a" / "b" / "cache", "marker"), "one")
    finally:
        os.umask(before)
    for place in ("a", "a/b", "a/b/cache", "a/b/cache/one"):
        assert (tmp_path / place).stat().st_mode & 0o777 == 0o700


def test_an_entry_that_was_found_damaged_is_removed(entries: Entries) -> None:
    place = add(entries, "one")
    entries.remove(place, entries.state(place))
    assert list(entries.directory.iterdir()) == [] and entries.state(place) is None
    entries.remove(place, None)


def test_an_entry_that_took_the_place_of_a_damaged_one_stays(entries: Entries) -> None:
    place = add(entries, "one")
    found = entries.state(place)
    place.rename(entries.directory / "moved")
    add(entries, "one")
    entries.remove(place, found)
    assert (place / "marker").read_text() == "one"


def test_an_entry_that_another_process_is_removing_is_left_to_it(entries: Entries) -> None:
    place = add(entries, "one")
    with holding(place):
        entries.remove(place, entries.state(place))
        assert (place / "marker").exists()


def test_a_lock_is_held_by_one_at_a_time_and_free_again_when_its_process_has_gone(tmp_path: Path) -> None:
    code = "import os, sys\nfrom pathlib import Path\nfrom gearshift.runtime.files.private import holding\n"
    code += "with holding(Path(sys.argv[1])) as free:\n    os.write(1, str(free).encode())\n    os.read(0, 1)"
    call = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.read(4) == b"True"
        with holding(tmp_path) as free:
            assert not free
        other.kill()
        other.wait()
    with holding(tmp_path) as free:
        assert free
