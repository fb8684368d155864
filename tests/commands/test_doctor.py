"""`gearshift doctor`: what it shows, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.compressed import write_compressed
from gearshift.runtime.doctor.examine import WARNED
from gearshift.runtime.packed.cache import PackedCache
from tests.command_line import Command
from tests.runtime.kept import flip


def test_doctor_shows_one_line_for_each_finding(command: Command) -> None:
    ended = command("doctor")
    assert ended.code in (0, WARNED) and ended.err == ""
    subjects = ended.out.splitlines()
    assert any(line.split()[:2] == ["ok", "onnxruntime"] for line in subjects)


def test_doctor_as_json(command: Command) -> None:
    ended = command("doctor", "--json")
    warned = any(finding["level"] == "warning" for finding in ended.json["findings"])
    assert (ended.code, ended.err) == (WARNED if warned else 0, "")
    assert ended.json["ok"] is True
    assert ended.json["device"]["cores"] >= 1


def test_doctor_ends_with_1_where_a_package_is_too_old(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenizers.__version__", "0.1.0")
    ended = command("doctor", "--json")
    assert ended.code == 1
    assert ended.json["ok"] is False
    assert ended.err == 'gearshift: tokenizers: 0.1.0; expected 0.20 or newer; pip install "tokenizers>=0.20"\n'


def test_doctor_reads_all_that_is_kept_and_removes_what_is_damaged(
    command: Command, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    write_compressed(bundle.path, bundle.manifest.files, shipped, {})
    copy = open_bundle(shipped).path
    session = PackedCache().open(bundle, "fp32", threads=1)
    assert session is not None
    session.close()
    (entry,) = PackedCache().entries()
    kept = [line.split()[-1] for line in command("doctor").out.splitlines() if "bundles, " in line]
    assert kept == ["whole", "whole"]
    flip(entry / "graph.weights", 5)
    flip(copy / "int8.weights", 5)
    ended = command("doctor")
    assert ended.code == WARNED
    assert f"{entry}: was damaged (block 0 has changed), and is removed; it is made anew when it is needed" in ended.out
    assert f"{copy}: was damaged ({copy}/int8.weights: expected sha256" in ended.out
    assert not entry.exists() and not copy.exists()
    assert "was damaged" not in command("doctor").out


def test_doctor_tells_of_a_cache_that_others_can_write_to(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path))
    tmp_path.chmod(0o777)
    assert f"{tmp_path}: expected a directory that this user alone can write to" in command("doctor").out
    assert "chmod 700" in command("doctor", "--clear-cache").err
