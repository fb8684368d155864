"""The child of a case: what ends it is told apart."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from gearshift.errors import BundleError
from tests.fuzz import bundles
from tests.fuzz.bundles import Outcome, attempt


def refuse(directory: Path) -> NoReturn:
    raise BundleError(f"{directory}: refused")


def refuse_at_length(directory: Path) -> NoReturn:
    raise BundleError("refused\nin two lines")


def fail(directory: Path) -> NoReturn:
    raise ZeroDivisionError


def die(directory: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def allocate(directory: Path) -> None:
    bytearray(2 * bundles.LIMIT_BYTES)


@pytest.mark.parametrize(
    ("use", "outcome", "told"),
    [
        (str, Outcome.ANSWERED, "x"),
        (refuse, Outcome.REFUSED, "x: refused"),
        (refuse_at_length, Outcome.REFUSED, "in two lines"),  # shown in one
        (fail, Outcome.TRACEBACK, "ZeroDivisionError"),
        (die, Outcome.KILLED, "SIGSEGV"),
        (allocate, Outcome.TRACEBACK, "MemoryError"),
    ],
)
def test_what_ends_a_case_is_told(
    monkeypatch: pytest.MonkeyPatch, use: Callable[[Path], str], outcome: Outcome, told: str
) -> None:
    monkeypatch.setattr(bundles, "use", use)
    result = attempt(Path("x"))
    assert result.outcome is outcome
    assert told in result.told


def test_a_case_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "LIMIT_S", 0.2)
    monkeypatch.setattr(bundles, "use", lambda directory: time.sleep(60))
    assert attempt(Path("x")).outcome is Outcome.HUNG
