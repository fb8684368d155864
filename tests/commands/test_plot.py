"""`gearshift plot`: a log as a picture."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.command_line import Command
from tests.trainer.full_disk import fill_disk, needs_full_device

TEXT = "turn the lights off"


def test_a_log_of_run_is_drawn(answer: Command, command: Command, tmp_path: Path) -> None:
    log, picture = tmp_path / "log.jsonl", tmp_path / "plot.svg"
    assert answer("--log", log, "--deadline-ms", 5000, "--", TEXT, "play some music").code == 0
    ended = command("plot", log, "-o", picture)
    assert (ended.code, ended.out, ended.err) == (0, f"{picture}: 2 requests\n", "")
    assert "<svg" in picture.read_text()
    assert command("plot", log, "-o", picture, "--json").json == {"plot": str(picture), "requests": 2}


@needs_full_device
@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_full_disk_leaves_the_old_picture(
    answer: Command, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    log, picture = tmp_path / "log.jsonl", tmp_path / f"plot.{ending}"
    assert answer("--log", log, TEXT).code == 0
    picture.write_text("old")
    with monkeypatch.context() as patch:
        fill_disk(patch, picture.name)
        assert f"{picture}: could not be written (No space left" in command("plot", log, "-o", picture).error
    assert picture.read_text() == "old"


def test_what_is_no_log_or_no_picture_is_one_line(command: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    assert "no decision log" in command("plot", tiny_bundle / "manifest.json", "-o", tmp_path / "a.png").error
    assert "could not be read" in command("plot", tmp_path / "none.jsonl", "-o", tmp_path / "a.png").error


@pytest.mark.parametrize(
    "arguments",
    [
        ["plot", "log", "-o", "a.png"],
        ["search", "run", "--plot", "a.png"],
        ["nas-search", "--text", "a", "-o", "b", "--plot", "a.png"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_plotting_without_matplotlib_names_the_command(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.startswith("gearshift.drawing.")]:
        monkeypatch.delitem(sys.modules, name)  # those that have imported it would not ask for it again
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    error = command(*arguments).error
    assert error == "this needs matplotlib, which is not installed; run: pip install 'gearshift[plot]'"
