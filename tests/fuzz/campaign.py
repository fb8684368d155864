"""Campaign: cases of several kinds in turns, from one seed."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fuzz.child import Case, run_cases
from tests.fuzz.outcome import FAILURES, Kind, Result

AT_ONCE = 25
"""Cases of a child for a kind of weight 1: enough that its fork costs nothing, few enough for kinds to take turns."""


def prepare(kinds: Sequence[Kind], folder: Path) -> None:
    """Make the files that are changed, each kind's in its own folder and in a fork of this process."""
    for name in dict.fromkeys(name for kind in kinds for name in kind.imports):
        importlib.import_module(name)
    for kind in kinds:
        (folder / kind.name).mkdir()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                kind.prepare(folder / kind.name)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            raise RuntimeError(f"the files of {kind.name} could not be made: exit code {status}")


def campaign(
    kinds: Sequence[Kind], seed: int, folder: Path, *, first: int = 0, at_once: int = AT_ONCE
) -> Iterator[tuple[Case, Result]]:
    """Run cases of the kinds in turns, without an end; `first`: number of the first case of each kind."""
    for turn in itertools.count():
        for kind in kinds:
            count = at_once * kind.weight
            numbers = range(first + turn * count, first + (turn + 1) * count)
            yield from run_cases([Case(kind, seed, number) for number in numbers], folder)


def keep(case: Case, result: Result, folder: Path, kept: Path) -> None:
    """Keep the files of a case that failed, with what was told; for a child that failed alone they lie there still."""
    assert result.outcome in FAILURES
    target = kept / case.name.replace(":", "-")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder / "case", target, symlinks=True, ignore=_not_plain, ignore_dangling_symlinks=True)
    (target / "told.txt").write_text(f"{case.name}\n{result.outcome.value}\n{result.told}\n", errors="replace")


def _not_plain(directory: str, names: list[str]) -> list[str]:
    """Return what would take too long to copy: pipes, and files that are mostly holes."""
    paths = [Path(directory) / name for name in names]
    return [one.name for one in paths if one.is_fifo() or (one.is_file() and one.stat().st_size > 1 << 30)]
