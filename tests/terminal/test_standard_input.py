"""Texts that `gearshift run` reads from standard input, in whatever form they come."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import PATIENCE_S, Command

TEXT = "turn the lights off"


def type_lines(
    monkeypatch: pytest.MonkeyPatch, content: bytes, encoding: str = "utf-8", errors: str = "strict"
) -> None:
    """Let standard input hold this, as a pipe would."""
    stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)), encoding=encoding, errors=errors)
    monkeypatch.setattr(sys, "stdin", stream)


READ = {
    "the end of a line is missing": b"one\ntwo",
    "Windows": b"one\r\ntwo\r\n",
    "old Macs": b"one\rtwo\r",
    "all kinds of ends, and blank lines": b"\n\r\none\r\r\n  \n\ttwo \n\n",
    "a byte order mark": codecs.BOM_UTF8 + b"one\ntwo\n",
    "a byte order mark alone": codecs.BOM_UTF8 + b"\none\ntwo\n",
    "files with byte order marks, one after the other": codecs.BOM_UTF8 + b"one\n" + codecs.BOM_UTF8 + b"two\n",
}


@pytest.mark.parametrize("how", READ)
def test_texts_are_the_lines_without_what_is_around_them(
    answer: Command, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    type_lines(monkeypatch, READ[how])
    ended = answer("--json")
    assert (ended.code, ended.err) == (0, "")
    assert [given["text"] for given in ended.json["answers"]] == ["one", "two"]


@pytest.mark.parametrize("content", [b"", b"\n", codecs.BOM_UTF8, b" \r\n\t"])
def test_nothing_gives_no_answers(answer: Command, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    type_lines(monkeypatch, content)
    assert answer("--json").json["answers"] == []


def test_characters_that_are_no_end_of_a_line_stay_in_the_text(
    answer: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "one\u2028two\x0bthree\x85four"
    type_lines(monkeypatch, f"{text}\n".encode())
    assert [given["text"] for given in answer("--json").json["answers"]] == [text]


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
@pytest.mark.parametrize(("content", "encoding"), [("Größe".encode("latin-1"), "latin-1"), ("Größe".encode(), "utf-8")])
def test_the_encoding_of_the_user_is_that_of_the_texts(
    answer: Command, monkeypatch: pytest.MonkeyPatch, content: bytes, encoding: str, errors: str
) -> None:
    type_lines(monkeypatch, content, encoding, errors)
    assert [given["text"] for given in answer("--json").json["answers"]] == ["Größe"]


NO_TEXT = {
    "UTF-16": (f"{TEXT}\n".encode("utf-16"), "1: expected UTF-8, found UTF-16; convert it: iconv -f UTF-16 -t UTF-8"),
    "UTF-16 of the other order": (
        codecs.BOM_UTF16_BE + f"{TEXT}\n".encode("utf-16-be"),
        "1: expected UTF-8, found UTF-16",
    ),
    "UTF-32": (f"{TEXT}\n".encode("utf-32"), "1: expected UTF-8, found UTF-32; convert it: iconv -f UTF-32 -t UTF-8"),
    "UTF-16 without a mark": (f"{TEXT}\n".encode("utf-16-le"), "1: expected text, found a zero byte, as in UTF-16"),
    "texts with zero bytes between them": (b"one\0two\0", "1: expected text, found a zero byte"),
    "Latin-1": (
        "Größe".encode("latin-1"),
        "1: expected UTF-8, found byte 0xf6 (invalid start byte); convert it, such as by",
    ),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "1: expected UTF-8, found byte 0x89"),
}


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])  # as Python sets it in the C locale
@pytest.mark.parametrize("what", NO_TEXT)
def test_what_is_no_text_is_one_line_with_the_remedy(
    answer: Command, monkeypatch: pytest.MonkeyPatch, what: str, errors: str
) -> None:
    content, message = NO_TEXT[what]
    type_lines(monkeypatch, content, errors=errors)
    assert answer().error.startswith(f"standard input, line {message}")


@pytest.mark.parametrize("json_too", [True, False])
def test_a_line_that_is_no_text_takes_no_earlier_answer_with_it(
    answer: Command, monkeypatch: pytest.MonkeyPatch, json_too: bool
) -> None:
    type_lines(monkeypatch, b"one\ntwo\n\xe9\nthree\n")
    ended = answer(*(["--json"] if json_too else []))
    assert (ended.code, len(ended.json["answers"] if json_too else ended.out.splitlines())) == (1, 2)
    assert ended.err.startswith("gearshift: standard input, line 3: expected UTF-8, found byte 0xe9")


def test_a_closed_standard_input_is_one_line_where_it_is_read(answer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    message = "standard input: closed; expected texts, one a line, there or as arguments"
    assert [answer(*texts).error for texts in ((), ("-",), ("--pair",))] == [message] * 3
    assert answer(TEXT).code == 0


def test_a_standard_input_that_cannot_be_read_is_one_line(answer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with os.fdopen(os.open(os.devnull, os.O_WRONLY), encoding="utf-8") as stream:  # as by `0> FILE`
        monkeypatch.setattr(sys, "stdin", stream)
        assert answer().error == "standard input: could not be read (Bad file descriptor)"


def test_pairs_have_a_tab_and_may_have_a_byte_order_mark(answer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    type_lines(monkeypatch, codecs.BOM_UTF8 + b"one\ttwo\r\n")
    assert answer("--pair", "--json").json["answers"][0]["text"] == ["one", "two"]
    type_lines(monkeypatch, b"one two\n")
    assert answer("--pair").error == "--pair: expected two texts with a tab between them, got 'one two'"


def start(tiny_bundle: Path, profile: Path, stdin: int) -> subprocess.Popen[str]:
    call = [sys.executable, "-m", "gearshift", "run", str(tiny_bundle), "--threads", "1", "--profile", str(profile)]
    return subprocess.Popen(call, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_pipe_that_does_not_wait_is_waited_for(tiny_bundle: Path, profile: Path) -> None:
    """Some programs leave their ends so; a pause of the writer counted as the end of the texts."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with contextlib.closing(os.fdopen(writing, "wb", buffering=0)) as pipe, start(tiny_bundle, profile, reading) as run:
        os.close(reading)
        assert run.stdout is not None and run.stderr is not None
        for number in range(3):
            pipe.write(b"%d\n" % number)
            assert run.stdout.readline().count("\n") == 1
        pipe.close()
        assert (run.wait(PATIENCE_S), run.stderr.read()) == (0, "")


def test_a_writer_that_ends_in_the_middle_of_a_line_is_answered(tiny_bundle: Path, profile: Path) -> None:
    reading, writing = os.pipe()
    with start(tiny_bundle, profile, reading) as run:
        os.close(reading)
        os.write(writing, b"one\ntwo and")
        os.close(writing)
        out, err = run.communicate(timeout=PATIENCE_S)
        assert (run.returncode, out.count("\n"), err) == (0, 2, "")
