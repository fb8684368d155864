"""Tests that what is missing for the emulated boards is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.arm64 import prepare as checked
from tests.arm64.prepare import main, prepare
from tests.debian import PrepareError


def put(folder: Path, name: str, script: str) -> None:
    """A program that does what the script says."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_another_system_than_debian_is_one_line_and_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(checked, "prepare", lambda: prepare(tmp_path / "build"))
    assert main() == 1
    said = capsys.readouterr()
    assert said.err == ("arm64: finding this machine's architecture: found no dpkg; expected Debian 12, which has it\n")


def test_what_apt_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "dpkg", "echo amd64")
    put(tmp_path, "apt-get", "echo 'W: slow' >&2; echo 'E: Unable to locate package' >&2; exit 100")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(PrepareError, match="apt-get: E: Unable to locate package; expected Debian 12") as caught:
        prepare(tmp_path / "build")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "build" / "stamp").exists()


def test_what_is_ready_is_left_alone_until_a_pin_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    build = tmp_path / "build"
    build.mkdir()
    (build / "stamp").write_text(checked._pins())
    prepare(build)
    wheels = tmp_path / "wheels.txt"
    wheels.write_text(checked.WHEELS.read_text() + "another==1\n")
    monkeypatch.setattr(checked, "WHEELS", wheels)
    with pytest.raises(PrepareError, match="found no dpkg"):
        prepare(build)
    assert not (build / "stamp").exists()
