"""Characters that a terminal obeys in text of others are shown escaped; text of any language is shown as it is."""

from __future__ import annotations

import argparse
import json
import logging
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from gearshift.drawing.markup import escape
from gearshift.errors import BundleError, InputError, MissingExtraError
from gearshift.escaping import EscapingFormatter, escaped
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.terminal import streams
from gearshift.terminal.output import progress_line, show, table
from tests.command_line import Command
from tests.runtime.altered import change_manifest

OBEYED = {
    "\x1b[2J": r"\x1b[2J",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x9b2J": r"\x9b2J",
    "safe\rforged": r"safe\rforged",
    "one\ntwo": r"one\ntwo",
    "one\x0b\x0c\x85two": r"one\x0b\x0c\x85two",
    "one\u2028two\u2029": r"one\u2028two\u2029",
    "\u202egpj.exe\u202c": r"\u202egpj.exe\u202c",
    "\u2066a\u2069": r"\u2066a\u2069",
    "\x00\x08\x7f": r"\x00\x08\x7f",
}

ORDINARY = [
    "turn the lights off",
    "C:\\new\\table",
    "a\tb",
    "größer, naïve, Ελλάδα, мир",
    "日本語のテキスト、中文",
    "\u05e9\u05dc\u05d5\u05dd \u200f\u0645\u0631\u062d\u0628\u0627\u200e",  # Hebrew, Arabic, marks of direction
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0915\u094d\u200d\u0937",  # Persian and Hindi, with joiners
    "👩\u200d👩\u200d👧 👍🏽 🏴\U000e0067\U000e0062\U000e007f",
    "e\u0301 \u00a0 \u2009 \u00ad",
]


@pytest.mark.parametrize("text", OBEYED)
def test_what_a_terminal_obeys_is_written_out(text: str) -> None:
    assert escaped(text) == OBEYED[text]
    assert escaped(escaped(text)) == OBEYED[text]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text: str) -> None:
    assert escaped(text) == text


@pytest.mark.parametrize("text", OBEYED)
def test_a_result_is_as_many_lines_as_it_has(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    streams.result(text, "next")
    show(argparse.Namespace(json=False), {}, [text])
    show(argparse.Namespace(json=True), {"label": text}, [])
    *lines, as_json, empty = capsys.readouterr().out.split("\n")
    assert (lines, empty) == ([OBEYED[text], "next", OBEYED[text]], "")
    assert json.loads(as_json) == {"label": text}


@pytest.mark.parametrize("text", OBEYED)
def test_a_message_is_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    streams.message(text)
    streams.complaint(OSError(text))
    assert capsys.readouterr().err.split("\n") == [OBEYED[text], f"gearshift: {OBEYED[text]}", ""]


@pytest.mark.parametrize("text", OBEYED)
def test_the_columns_of_a_table_stay_under_each_other(text: str) -> None:
    lines = table(["label", "score"], [[text, "0.5"], ["b", text]])
    assert len({len(line) for line in lines}) == 1
    assert OBEYED[text] in lines[1]


def test_the_progress_line_alone_moves_the_cursor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress_line() as progress:
        progress("\x1b[2J", 1, 1)
    assert capsys.readouterr().err.startswith("\r\x1b[K" + r"\x1b[2J [")


@pytest.mark.parametrize("kind", [BundleError, InputError, MissingExtraError])
@pytest.mark.parametrize("text", OBEYED)
def test_an_error_of_ours_is_one_line(text: str, kind: type[Exception]) -> None:
    assert str(kind(f"label {text}")) == f"label {OBEYED[text]}"


@pytest.mark.parametrize("text", OBEYED)
def test_a_log_line_is_one_line(text: str) -> None:
    record = logging.LogRecord("gearshift", logging.WARNING, "", 0, "%s is stale", (text,), None)
    assert EscapingFormatter("%(name)s: %(message)s").format(record) == f"gearshift: {OBEYED[text]} is stale"


@pytest.mark.parametrize("text", [*OBEYED, "<b>&"])
def test_a_report_shows_it_and_stays_readable_xml(text: str) -> None:
    assert ElementTree.fromstring(f"<text>{escape(text)}</text>").text == OBEYED.get(text, text)


FORGED = "\x1b]0;t\x07\u202e\r\nok"


@pytest.mark.parametrize("as_json", [False, True])
def test_inspect_and_verify_show_labels_and_licence_on_their_line(
    bundle_copy: Path, command: Command, as_json: bool
) -> None:
    old = open_bundle(bundle_copy).manifest
    change_manifest(bundle_copy, licence=FORGED, made_by=FORGED, labels=(FORGED, *old.labels[1:]))
    for name in ("inspect", "verify"):
        done = command(name, bundle_copy, *(["--json"] if as_json else []))
        assert not {"\x1b", "\x07", "\u202e", "\r"} & set(done.out)
        assert "ok" not in done.out.splitlines()
        if as_json and name == "inspect":
            assert done.json["licence"] == FORGED


def test_run_shows_an_answer_on_its_line(bundle_copy: Path, command: Command) -> None:
    old = open_bundle(bundle_copy).manifest
    change_manifest(bundle_copy, labels=tuple(f"{FORGED}{number}" for number, _ in enumerate(old.labels)))
    (line,) = command("run", bundle_copy, "turn the lights off", "--threads", "1").out.split("\n")[:-1]
    assert line.startswith(r"\x1b]0;t\x07\u202e\r\nok")
