"""The progress line shows how far something is, and nothing where nobody looks."""

import io
import sys

import pytest

from gearshift.terminal.output import progress_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_what_is_being_done_and_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_line() as progress:
        progress("graphs", 1, 2)
        assert terminal.getvalue().endswith(f"graphs [{'#' * 15}{'.' * 15}] 1/2")
        progress("accuracy int8", 12, 12)
        assert terminal.getvalue().endswith(f"accuracy int8 [{'#' * 30}] 12/12")
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_nothing_to_do_is_shown_too(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_line(" s") as progress:
        progress("graphs", 0, 0)
        assert terminal.getvalue().endswith("] 0/0 s")


def test_a_pipe_sees_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_line() as progress:
        progress("graphs", 1, 2)
    assert capsys.readouterr() == ("", "")
