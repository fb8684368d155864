"""Faults at the writes into a folder, and forks that they happen in."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.utime",
    "os.chmod",
    "shutil.rmtree",
    "tempfile.mkdtemp",
}


def at_write(number: int, place: Path, fault: Callable[[], object]) -> list[str]:
    """Make a fault happen before a write into a folder, counted from 0; return a list that gets all of them."""
    seen: list[str] = []

    def audited(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if (writes or event in CHANGES) and any(str(part).startswith(str(place)) for part in arguments):
            seen.append(event)
            if len(seen) == number + 1:
                fault()

    sys.addaudithook(audited)
    return seen


def forked(call: Callable[[], int]) -> int:
    """Return the exit code of a call in a fork of this process, or the signal that ended it, negative."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        os._exit(call())
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(99)


def disk_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def limit_files(limit: int) -> None:
    """Let no file grow beyond `limit` bytes from now on."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # Python's own setting; the write then fails
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
