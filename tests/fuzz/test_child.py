"""The children of cases: what ends one is told apart, and the cases behind it go on."""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gearshift.errors import BundleError
from tests.fuzz import child
from tests.fuzz.child import Case, attempt, run_cases
from tests.fuzz.outcome import Kind, Outcome

Use = Callable[[Path, Path], bool]


def kind_of(use: Use, *, make: Callable[[Path, Path, random.Random], bool] = lambda base, case, source: False) -> Kind:
    return Kind("kind", make, use, lambda base: None)


def refuse(base: Path, case: Path) -> bool:
    raise BundleError("x: refused")


def refuse_at_length(base: Path, case: Path) -> bool:
    error = BundleError("")
    error.args = ("refused\nin two lines",)
    raise error


def refuse_for_memory(base: Path, case: Path) -> bool:
    raise BundleError("x: the library said std::bad_alloc")


def fail(base: Path, case: Path) -> bool:
    raise ZeroDivisionError


def die(base: Path, case: Path) -> bool:
    os.kill(os.getpid(), signal.SIGSEGV)
    return True


def leave(base: Path, case: Path) -> bool:
    os._exit(7)


def allocate(base: Path, case: Path) -> bool:
    return bool(mmap.mmap(-1, child.LIMIT_BYTES))


def allocate_less(base: Path, case: Path) -> bool:
    return bool(mmap.mmap(-1, child.LIMIT_BYTES // 2))


@pytest.mark.parametrize(
    ("use", "outcome", "told"),
    [
        (lambda base, case: True, Outcome.UNCHANGED, ""),
        (lambda base, case: False, Outcome.WRONG, ""),
        (refuse, Outcome.REFUSED, "x: refused"),
        (refuse_at_length, Outcome.REFUSED, "in two lines"),  # shown in one
        (refuse_for_memory, Outcome.MEMORY, "bad_alloc"),
        (fail, Outcome.TRACEBACK, "ZeroDivisionError"),
        (die, Outcome.KILLED, "SIGSEGV"),
        (leave, Outcome.KILLED, "exit code 7"),
        (allocate, Outcome.MEMORY, "OSError"),
        (allocate_less, Outcome.UNCHANGED, ""),
    ],
)
def test_what_ends_a_case_is_told(tmp_path: Path, use: Use, outcome: Outcome, told: str) -> None:
    (tmp_path / "kind").mkdir()
    result = attempt(Case(kind_of(use), 1, 0), tmp_path)
    assert result.outcome is outcome, result.told
    assert told in result.told


def test_other_answers_are_no_fault_where_the_meaning_may_be_another(tmp_path: Path) -> None:
    (tmp_path / "kind").mkdir()
    kind = kind_of(lambda base, case: False, make=lambda base, case, source: True)
    assert attempt(Case(kind, 1, 0), tmp_path).outcome is Outcome.OTHER


def test_a_case_that_cannot_be_made_is_a_fault_of_the_fuzzer(tmp_path: Path) -> None:
    (tmp_path / "kind").mkdir()
    kind = kind_of(refuse, make=lambda base, case, source: fail(base, case))
    assert attempt(Case(kind, 1, 0), tmp_path).outcome is Outcome.UNMADE


@pytest.mark.parametrize("hang", [lambda: time.sleep(60), lambda: any(iter(int, 1))], ids=["asleep", "busy"])
def test_a_case_that_takes_too_long_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hang: Callable[[], object]
) -> None:
    monkeypatch.setattr(child, "LIMIT_S", 0.3)
    (tmp_path / "kind").mkdir()
    assert attempt(Case(kind_of(lambda base, case: not hang()), 1, 0), tmp_path).outcome is Outcome.HUNG


def test_the_cases_behind_one_that_fails_go_on_and_it_runs_again_alone(tmp_path: Path) -> None:
    (tmp_path / "kind").mkdir()

    def make(base: Path, case: Path, source: random.Random) -> bool:
        (case / "number").write_text(str(source.randrange(3)))
        return False

    def use(base: Path, case: Path) -> bool:
        number = int((case / "number").read_text())
        with (base / "log").open("a") as log:
            log.write(f"{number}\n")
        return die(base, case) if number == 0 else True

    cases = [Case(kind_of(use, make=make), 1, number) for number in range(30)]
    found = [(case.number, result.outcome) for case, result in run_cases(cases, tmp_path)]
    wanted = [random.Random(case.name).randrange(3) for case in cases]
    assert 3 < wanted.count(0) < 20
    assert found == [(number, Outcome.UNCHANGED if value else Outcome.KILLED) for number, value in enumerate(wanted)]
    used = [int(line) for line in (tmp_path / "kind" / "log").read_text().split()]
    assert used.count(0) == 2 * wanted.count(0) and len(used) == 30 + wanted.count(0)


def test_a_failure_that_only_comes_behind_other_cases_counts_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "kind").mkdir()
    behind: list[int] = []

    def use(base: Path, case: Path) -> bool:
        behind.append(1)
        return len(behind) < 3 or fail(base, case)

    cases = [Case(kind_of(use), 1, number) for number in range(3)]
    *_, (_, last) = run_cases(cases, tmp_path)
    assert last.outcome is Outcome.TRACEBACK
    assert last.told.endswith("(only behind the other cases of its child; alone: unchanged answers)")
