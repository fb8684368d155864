"""Entries of the cache: whole or not there, and the ones used last stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gearshift.runtime.files.cache import KEPT_ENTRIES, UNFINISHED, Entries


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


def test_what_a_killed_process_left_goes_when_it_is_old(entries: Entries) -> None:
    add(entries, "one")
    old, young = (entries.directory / f"{UNFINISHED}{age}" for age in ("old", "young"))
    old.mkdir()
    young.mkdir()
    os.utime(old, (0, 0))
    add(entries, "two")
    assert not old.exists() and young.exists()
