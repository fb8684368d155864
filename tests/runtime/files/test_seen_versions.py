"""The memory of versions: the newest stays, whoever adds at the same time, and no doubt is taken for none."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gearshift.errors import StorageError
from gearshift.runtime.files.private import PRIVATE
from gearshift.runtime.files.seen_versions import SeenVersions


@pytest.fixture
def seen(tmp_path: Path) -> SeenVersions:
    return SeenVersions(tmp_path / "cache")


def files(seen: SeenVersions) -> list[str]:
    return sorted(path.name for path in seen.directory.glob("*/*"))


def test_nothing_was_seen_at_first(seen: SeenVersions) -> None:
    assert seen.newest("a") == 0
    assert not seen.directory.exists()


def test_the_newest_version_of_each_name_stays(seen: SeenVersions) -> None:
    for version in (3, 12, 7, (1 << 63) - 1):
        seen.add("a", version)
    seen.add("b", 2)
    assert (seen.newest("a"), seen.newest("b"), seen.newest("c")) == ((1 << 63) - 1, 2, 0)
    assert files(seen) == ["2", str((1 << 63) - 1)]


def test_another_memory_of_the_same_directory_knows_it(seen: SeenVersions, tmp_path: Path) -> None:
    seen.add("a", 3)
    assert SeenVersions(tmp_path / "cache").newest("a") == 3


def test_versions_that_are_added_at_once_leave_the_newest(seen: SeenVersions) -> None:
    threads = [threading.Thread(target=seen.add, args=("a", version)) for version in range(1, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.newest("a") == 39


def test_what_stands_in_the_place_of_a_version_is_no_memory_of_it(seen: SeenVersions) -> None:
    seen.add("a", 5)
    (place,) = seen.directory.iterdir()
    (place / "7").mkdir()
    with pytest.raises(StorageError, match="7 is no file of this user"):
        seen.add("a", 7)
    assert seen.newest("a") == 5


def test_older_ones_that_an_interrupted_process_left_change_nothing(seen: SeenVersions) -> None:
    seen.add("a", 5)
    (place,) = seen.directory.iterdir()
    (place / "4").touch()
    assert seen.newest("a") == 5


def test_the_directories_are_private(seen: SeenVersions) -> None:
    seen.add("a", 5)
    (place,) = seen.directory.iterdir()
    assert {path.stat().st_mode & 0o777 for path in (seen.directory, place)} == {PRIVATE}


def test_what_others_may_write_to_is_not_believed(seen: SeenVersions) -> None:
    seen.add("a", 5)
    (place,) = seen.directory.iterdir()
    place.chmod(0o777)
    with pytest.raises(StorageError, match="that this user alone can write to"):
        seen.newest("a")
    with pytest.raises(StorageError, match="that this user alone can write to"):
        seen.add("a", 6)


def test_links_and_other_names_are_no_versions(seen: SeenVersions, tmp_path: Path) -> None:
    seen.add("a", 5)
    (place,) = seen.directory.iterdir()
    (place / "9").symlink_to(tmp_path)
    (place / "x").touch()
    (place / "\u00b2").touch()
    assert seen.newest("a") == 5


def test_a_memory_that_cannot_be_read_or_kept_is_an_error(seen: SeenVersions) -> None:
    seen.directory.parent.mkdir(mode=PRIVATE)
    seen.directory.write_text("in the way")
    for ask in (lambda: seen.newest("a"), lambda: seen.add("a", 1)):
        with pytest.raises(StorageError, match="the versions seen could not be read or kept there"):
            ask()


def test_a_cache_that_cannot_be_written_is_an_error() -> None:
    with pytest.raises(StorageError, match="could not be read or kept there"):
        SeenVersions(Path("/proc/cache")).add("a", 1)
