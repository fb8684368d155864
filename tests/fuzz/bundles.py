"""A case: a copy of the tiny bundle with one file changed, loaded and used in a child process with limits."""

from __future__ import annotations

import enum
import faulthandler
import logging
import os
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from gearshift.errors import GearshiftError
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import Text
from tests.runtime.altered import change_manifest

LIMIT_S = 10.0
"""Seconds that a case may take."""

LIMIT_BYTES = 1_000_000_000
"""Bytes that a case may allocate beyond what the process has before it."""

TEXTS: list[Text] = ["turn the lights off", "a \u6f22\u5b57 \U0001f600 word" + "s" * 300, ("is it on?", "x " * 500)]


class Outcome(enum.Enum):
    """Outcome of a case."""

    ANSWERED = "answered"
    REFUSED = "refused in one line"
    TRACEBACK = "an error that is none of ours, or of several lines"
    KILLED = "ended the process"
    HUNG = "took too long"


FAILURES = (Outcome.TRACEBACK, Outcome.KILLED, Outcome.HUNG)


@dataclass(frozen=True)
class Result:
    outcome: Outcome
    told: str


def use(directory: Path) -> str:
    """Load a bundle as an engine does, self-test included, and answer with its smallest and largest subnet."""
    bundle = open_bundle(directory)
    for precision in bundle.precisions:
        session = ElasticSession(bundle, precision, threads=1)
        check_self_test(session, bundle)
        opened = Opened.of(bundle, session)
        for name in (*list(bundle.pool(precision))[:1], *list(bundle.pool(precision))[-1:]):
            for text in TEXTS:
                opened.executors[name](opened.encoder.encode([text]), None)
    return "answered"


def attempt(directory: Path) -> Result:
    """Use a bundle in a child of this process, within the limits."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(directory, writer)
    os.close(writer)
    told, ended = _wait(child, reader)
    os.close(reader)
    if ended is None:
        return Result(Outcome.HUNG, f"{LIMIT_S:g} s")
    if os.WIFSIGNALED(ended):
        return Result(Outcome.KILLED, signal.Signals(os.WTERMSIG(ended)).name)
    outcome = {0: Outcome.ANSWERED, 3: Outcome.REFUSED, 4: Outcome.TRACEBACK}.get(os.WEXITSTATUS(ended))
    return Result(outcome or Outcome.KILLED, told or f"exit code {os.WEXITSTATUS(ended)}")


def _child(directory: Path, writer: int) -> None:
    """Use the bundle, write what came of it, and end; never returns."""
    code = 4
    try:
        faulthandler.disable()  # its report would go to the stream of the tests
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_own_bytes() + LIMIT_BYTES,) * 2)
        logging.disable()
        try:
            told, code = use(directory), 0
        except GearshiftError as error:
            told = str(error)
            code = 3 if told and "\n" not in told else 4
        except BaseException:
            told = traceback.format_exc()
        os.write(writer, told.encode(errors="replace")[:50_000])
    finally:
        os._exit(code)


def _own_bytes() -> int:
    """Return the address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _wait(child: int, reader: int) -> tuple[str, int | None]:
    """Return what a child wrote, and its status; None if it was ended for its time."""
    content, deadline = b"", time.monotonic() + LIMIT_S
    while (left := deadline - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            piece = os.read(reader, 1 << 16)
            content += piece
            if not piece:
                return content.decode(errors="replace"), os.waitpid(child, 0)[1]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "", None


def changed(source: Path, target: Path, name: str, content: bytes) -> Path:
    """Copy a bundle with another content of one file, and hashes that are right."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for each in source.iterdir():
        if each.name == name:
            (target / name).write_bytes(content)
        else:
            shutil.copy(each, target)
    change_manifest(target)
    return target


if sys.platform != "linux":
    raise ImportError("the fuzzers need fork and limits of Linux")
