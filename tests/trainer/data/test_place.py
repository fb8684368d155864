"""Places of data: what a run keeps of one, and what is found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearshift.trainer.data.place import find_place, kept_place


@pytest.mark.parametrize("name", ["glue/rte", "hub:owner/name", "hub:owner/name/config"])
def test_a_name_of_the_hub_is_kept_as_it_is_and_found_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert kept_place(Path(name)) == name
    assert find_place(kept_place(Path(name))) == Path(name)


def test_a_file_is_found_again_from_another_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "glue").mkdir()
    (tmp_path / "glue" / "rte").write_text("rows")  # a file here goes before the hub's data set of this name
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    kept = kept_place(Path("glue/rte"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = find_place(kept)
    assert found is not None and found.read_text() == "rows"


def test_nothing_is_found_of_nothing_or_of_what_went_away(tmp_path: Path) -> None:
    assert find_place(None) is None
    assert find_place(kept_place(tmp_path / "gone")) is None
