"""`gearshift doctor`: what it shows, and how it ends."""

from __future__ import annotations

import pytest

from gearshift.runtime.doctor.examine import WARNED
from tests.command_line import Command


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
