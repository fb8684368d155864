"""Standard output and standard error that are closed, full, without a reader or not UTF-8: no command falls over them.

Most ways are tried in this process, with the streams replaced; those that the interpreter itself takes part in, at its
start and at its end, in one of their own.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from gearshift.__main__ import BROKEN_PIPE, main
from tests.command_line import PATIENCE_S, Command

TEXT = "turn the lights off"

LINES = {
    "version": ("--version",),
    "help": ("--help",),
    "help of a command": ("train", "--help"),
    "inspect": ("inspect", "BUNDLE"),
    "inspect as JSON": ("inspect", "BUNDLE", "--json"),
    "verify": ("verify", "BUNDLE"),
    "run": ("run", "BUNDLE", TEXT, TEXT, "--threads", "1", "--profile", "PROFILE"),
    "run as JSON": ("run", "BUNDLE", TEXT, "--threads", "1", "--profile", "PROFILE", "--json"),
    "simulate": ("simulate", "BUNDLE", "--profile", "PROFILE", "--trace", "contention", "--seconds", "2"),
    "doctor": ("doctor",),
}
"""Command lines of every kind of output that a device has."""

FULL = Path("/dev/full")

needs_full = pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")


@pytest.fixture
def line(tiny_bundle: Path, profile: Path) -> Callable[[str], list[str]]:
    """The words of one of LINES."""
    places = {"BUNDLE": str(tiny_bundle), "PROFILE": str(profile)}
    return lambda name: [places.get(word, word) for word in LINES[name]]


def outcome(arguments: list[str]) -> object:
    """Exit code of a command in this process."""
    before = sys.stdout, sys.stderr
    try:
        return main(arguments)
    except SystemExit as ended:
        return ended.code
    finally:
        for stream in {sys.stdout, sys.stderr}.difference(before):
            stream.close()  # in place of one that was closed


@pytest.fixture
def broken() -> Iterator[TextIO]:
    """A pipe whose reader is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        yield stream


@needs_full
@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("buffered", [True, False])
def test_a_result_for_which_there_is_no_room_is_one_line(
    line: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    buffered: bool,
) -> None:
    with FULL.open("wb", buffering=-1 if buffered else 0) as disk:
        stream = io.TextIOWrapper(disk, encoding="utf-8", write_through=not buffered)
        monkeypatch.setattr(sys, "stdout", stream)
        code = outcome(line(name))
        stream.close()  # as the interpreter does at its end: it must not fail once more
    message = "gearshift: standard output: could not be written (No space left on device); what the command wrote to "
    assert (code, capsys.readouterr().err) == (1, message + "files is there\n")


@pytest.mark.parametrize("name", LINES)
def test_a_result_that_nobody_reads_is_no_error(
    line: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    broken: TextIO,
    name: str,
) -> None:
    monkeypatch.setattr(sys, "stdout", broken)
    assert outcome(line(name)) == BROKEN_PIPE
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", LINES)
def test_a_closed_standard_output_is_refused_before_anything_is_done(
    line: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert outcome(line(name)) == 1
    message = "gearshift: standard output: closed; expected a place for the result, such as a file or /dev/null\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
@pytest.mark.parametrize("name", ["inspect", "inspect as JSON", "verify"])
def test_a_name_that_the_encoding_lacks_is_shown_escaped(
    bundle_named: Path, monkeypatch: pytest.MonkeyPatch, name: str, encoding: str
) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding=encoding))
    assert outcome([str(bundle_named) if word == "BUNDLE" else word for word in LINES[name]]) == 0
    shown = content.getvalue().decode(encoding)
    assert ("café-日本" in shown) == (encoding == "utf-8" and "JSON" not in name)
    assert ("日本" in shown) or (r"-\u65e5\u672c.gearshift" in shown)


@pytest.fixture(scope="module")
def bundle_named(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose name is not ASCII."""
    return shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("named") / "café-日本.gearshift")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_message_with_a_name_that_the_encoding_lacks_is_shown_escaped(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(content, encoding=encoding))
    assert outcome(["inspect", "日本"]) == 1
    assert outcome(["inspect", "a", "日本"]) == 2
    lines = content.getvalue().decode(encoding).splitlines()
    assert [r"\u65e5\u672c" in line for line in lines] == [True, True]


def test_a_message_stays_on_one_line_whatever_is_in_a_name(command: Command, tmp_path: Path) -> None:
    error = command("inspect", tmp_path / "two\nlines\r").error
    assert error.startswith(f"{tmp_path}/two\\nlines\\r: expected a bundle directory")


FAILING = {1: ["inspect", "nowhere"], 2: ["inspect"]}


@needs_full
@pytest.mark.parametrize("code", FAILING)
@pytest.mark.parametrize("way", ["full", "broken", "closed"])
def test_a_message_that_cannot_be_written_changes_no_exit_code(
    monkeypatch: pytest.MonkeyPatch, broken: TextIO, way: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stderr", {"full": full, "broken": broken, "closed": None}[way])
        assert outcome(FAILING[code]) == code
    assert capsys.readouterr().out == ""  # `print(..., file=None)` would write there


# In an interpreter of its own


def child(redirection: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command started by a shell with its streams redirected."""
    words = [sys.executable, "-m", "gearshift", *map(str, arguments)]
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *words],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@needs_full
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("redirection", "arguments", "code", "message"),
    [
        (">/dev/full", ("--version",), 1, "could not be written (No space left on device)"),
        (">/dev/full", ("inspect", "BUNDLE"), 1, "could not be written (No space left on device)"),
        (">&-", ("--version",), 1, "standard output: closed"),
        ("2>&-", ("inspect", "nowhere"), 1, ""),
        ("2>/dev/full", ("inspect", "nowhere"), 1, ""),
        ("2>/dev/full", ("inspect",), 2, ""),
        ("<&- >&- 2>&-", ("inspect", "BUNDLE"), 1, ""),
    ],
)
def test_the_interpreter_ends_with_the_same_code_and_adds_nothing(
    tiny_bundle: Path, redirection: str, arguments: tuple[str, ...], code: int, message: str, unbuffered: str
) -> None:
    words = [str(tiny_bundle) if word == "BUNDLE" else word for word in arguments]
    done = child(redirection, *words, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == bool(message)


def test_answers_go_out_where_standard_input_and_standard_error_are_closed(tiny_bundle: Path, profile: Path) -> None:
    done = child("<&- 2>&-", "run", tiny_bundle, TEXT, "--threads", 1, "--profile", profile)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)


def test_no_file_takes_the_place_of_a_closed_stream(tiny_bundle: Path, profile: Path, tmp_path: Path) -> None:
    """Libraries write their warnings to the descriptor 2, whatever it is."""
    log = tmp_path / "log.jsonl"
    done = child("2>&-", "run", tiny_bundle, TEXT, "--threads", 1, "--profile", profile, "--log", log, "-v")
    assert done.returncode == 0
    assert all(line.startswith("{") for line in log.read_text().splitlines())
    code = (
        "import os, sys\nfrom gearshift.terminal.streams import prepare\ntry:\n    prepare()\nexcept Exception:\n"
        "    pass\nwith open(sys.argv[1], 'w') as file:\n    file.write(str(file.fileno()))\n"
    )
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-c", code, log], check=True)
        assert int(log.read_text()) > 2, closed


def test_an_encoding_that_cannot_show_a_name_shows_it_escaped(bundle_named: Path) -> None:
    done = child("", "inspect", bundle_named, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"/caf\xe9-\u65e5\u672c.gearshift: classification" in done.stdout
