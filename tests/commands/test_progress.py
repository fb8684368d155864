"""The bar shows what is done, and nothing where nobody looks."""

import io
import sys

import pytest

from gearshift.commands.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_what_is_being_done_and_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar() as progress:
        progress("graphs", 1, 2)
        assert "graphs:  50%" in terminal.getvalue()
        assert "1/2" in terminal.getvalue()
        progress("accuracy int8", 12, 12)
    assert "accuracy int8: 100%" in terminal.getvalue()
    assert "12/12" in terminal.getvalue()


def test_a_pipe_sees_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as progress:
        progress("graphs", 1, 2)
    assert capsys.readouterr() == ("", "")
