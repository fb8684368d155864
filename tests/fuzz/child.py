"""Children that run cases, within limits of time and memory: a fork of this process for many cases.

This process has imported the libraries and made no session of one, so that it has no threads when it forks. A child
runs its cases one after the other. After a failure another one goes on behind it, and the case that failed runs again,
alone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gearshift.errors import GearshiftError
from tests.fuzz.outcome import FAILURES, Kind, Outcome, Result

LIMIT_S = 10.0
"""Seconds that a case may take."""

PATIENCE_S = 120.0
"""Seconds after which a case counts as hanging that still waits for a CPU: other programs may have them all."""

LIMIT_BYTES = 1_000_000_000
"""Bytes that a case may allocate beyond those that the process has before it and those of the unaltered files."""

NO_MEMORY = ("bad_alloc", "bad allocation", "MemoryError", "out of memory", "Unable to allocate", "Cannot allocate")
"""Words of errors of an allocation beyond the limit, which a library or a command may have put into its own."""

ALONE = (Outcome.HUNG, Outcome.MEMORY)
"""Outcomes that count only if the case has them alone: a machine may stand still, and a heap be full of holes."""

CORRUPT = "\n(only behind the other cases of its child; alone: {})"


@dataclass(frozen=True)
class Case:
    """Case by its kind, the seed of the whole, and its number."""

    kind: Kind
    seed: int
    number: int

    @property
    def name(self) -> str:
        return f"{self.kind.name}:{self.seed}:{self.number}"


def run_cases(cases: Sequence[Case], folder: Path) -> Iterator[tuple[Case, Result]]:
    """Run cases of one kind in children, and yield the result of each; what a failed case wrote lies in the folder."""
    left = list(cases)
    while left:
        done = 0
        for result in _in_child(left, folder):
            case = left[done]
            done += 1
            if result.outcome in FAILURES and len(cases) > 1:
                yield case, _again(case, result, folder)
                break
            yield case, result
        left = left[done:]


def _again(case: Case, first: Result, folder: Path) -> Result:
    """Return the result of a case that failed, after it ran alone."""
    (alone,) = _in_child([case], folder)
    if alone.outcome in FAILURES or first.outcome in ALONE:
        return alone
    return Result(first.outcome, first.told + CORRUPT.format(alone.outcome.value))


def attempt(case: Case, folder: Path) -> Result:
    """Run one case in a child of its own."""
    return next(result for _, result in run_cases([case], folder))


def _in_child(cases: Sequence[Case], folder: Path) -> Iterator[Result]:
    """Yield the results of cases in one child, until it ends, at the latest with the first failure."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(cases, folder, writer)
    os.close(writer)
    ended = False
    try:
        for line in _lines(reader, child):
            if line is None:
                os.kill(child, signal.SIGKILL)
                yield Result(Outcome.HUNG, f"{LIMIT_S:g} s")
                return
            outcome, told = json.loads(line)
            if outcome is None:
                ended = True
                return
            yield Result(Outcome[outcome], told)
            if Outcome[outcome] in FAILURES:
                return
        status = os.waitpid(child, 0)[1]
        child = 0
        if not ended:
            yield Result(Outcome.KILLED, _ending(status))
    finally:
        os.close(reader)
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit code {os.WEXITSTATUS(status)}"


def _lines(reader: int, child: int) -> Iterator[bytes | None]:
    """Yield the lines that a child writes; None, and no more, if one takes longer than a case may."""
    content, began, used = b"", time.monotonic(), _cpu_s(child)
    while not (_is_late(began) and _hangs(child, began, used)):
        if not select.select([reader], [], [], 0.1 if _is_late(began) else LIMIT_S)[0]:
            continue
        piece = os.read(reader, 1 << 16)
        if not piece:
            return
        *lines, content = (content + piece).split(b"\n")
        for line in lines:
            yield line
            began, used = time.monotonic(), _cpu_s(child)
    yield None


def _is_late(began: float) -> bool:
    return time.monotonic() - began >= LIMIT_S


def _hangs(child: int, began: float, used: float) -> bool:
    """Return whether a child that is late has had its time: by the CPU, asleep, or in all patience by the clock."""
    if _cpu_s(child) - used >= LIMIT_S or time.monotonic() - began >= PATIENCE_S:
        return True
    states = set()
    for _ in range(10):
        states.add(_stat(child)[0])
        time.sleep(0.02)
    return states == {"S"}


def _stat(process: int) -> list[str]:
    """Return the fields of a process from its state on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _cpu_s(process: int) -> float:
    """Return the seconds of CPU that a process has taken."""
    user, system = _stat(process)[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _child(cases: Sequence[Case], folder: Path, writer: int) -> None:
    """Run the cases, write what came of each, and end; never returns."""
    try:
        faulthandler.disable()  # its report would go to the stream of the tests
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the process that counts
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        logging.disable()
        with os.fdopen(writer, "wb", buffering=0) as pipe:
            for case in cases:
                result = _run(case, folder)
                told = [result.outcome.name, result.told[:20_000]]
                pipe.write(json.dumps(told).encode() + b"\n")
                if result.outcome in FAILURES:
                    os._exit(0)
            pipe.write(b"[null, null]\n")
    finally:
        os._exit(1)


def _run(case: Case, folder: Path) -> Result:
    kind, base = case.kind, folder / case.kind.name
    place = folder / "case"
    _limit(None)
    shutil.rmtree(place, ignore_errors=True)
    try:
        place.mkdir()
        may_differ = kind.make(base, place, random.Random(case.name))
    except Exception:
        return Result(Outcome.UNMADE, traceback.format_exc())
    size = sum(path.stat().st_size for path in base.rglob("*") if path.is_file())
    _limit(LIMIT_BYTES + size)
    try:
        return judged(lambda: kind.use(base, place), may_differ=may_differ)
    finally:
        _limit(None)


def judged(use: Callable[[], bool], *, may_differ: bool) -> Result:
    """Use a case, and tell what came of it."""
    try:
        same = use()
    except GearshiftError as error:
        told = str(error)
        if any(words in told for words in NO_MEMORY):
            return Result(Outcome.MEMORY, told)
        one_line = bool(told) and "\n" not in told
        return Result(Outcome.REFUSED if one_line else Outcome.TRACEBACK, told)
    except BaseException:
        told = traceback.format_exc()
        memory = any(words in told for words in NO_MEMORY)
        return Result(Outcome.MEMORY if memory else Outcome.TRACEBACK, told)
    if same:
        return Result(Outcome.UNCHANGED, "")
    return Result(Outcome.OTHER if may_differ else Outcome.WRONG, "")


def _limit(more: int | None) -> None:
    """Limit this process to `more` bytes than it has; None: to none."""
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard if more is None else own + more, hard))


if sys.platform != "linux":
    raise ImportError("the fuzzers need fork and limits of Linux")
