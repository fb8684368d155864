"""`gearshift export`: what it refuses."""

from __future__ import annotations

from pathlib import Path

from tests.command_line import Command


def test_a_run_that_is_none_cannot_be_exported(command: Command, tmp_path: Path) -> None:
    error = command("export", tmp_path, "-o", tmp_path / "out.gearshift").error
    assert "expected a run directory with supernet.json, found none; make one with `gearshift train`" in error
