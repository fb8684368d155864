"""Import of psutil by a thread, and a fork in the middle of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
import threading
began.set()
threading.Event().wait({wait})
"""
"""Stand-in for psutil whose import takes long enough for a fork to begin meanwhile, or does not end."""

PROGRAM = """
import builtins, os, signal, sys, threading
from gearshift.runtime.sensors import psutil_source
from gearshift.runtime.sensors.psutil_source import load_psutil
{first}
builtins.began = threading.Event()
thread = threading.Thread(target=load_psutil, daemon=True)
thread.start()
began.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)
    load_psutil()
    os._exit(0)
ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.stdout.flush()
os._exit(ended != 0)
"""


def run(tmp_path: Path, *, wait: str, first: str = "", program: str = PROGRAM) -> int:
    """Run the program with a psutil whose import waits so long; return how it ended."""
    (tmp_path / "psutil.py").write_text(MODULE.format(wait=wait))
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-W", "ignore", "-c", program.format(first=first)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, timeout=60).returncode


HANGING = PROGRAM.replace("    load_psutil()\n", "")
"""The child asks for nothing: it could not get it."""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


@needs_fork
def test_a_fork_during_the_import_can_import_too(tmp_path: Path) -> None:
    assert run(tmp_path, wait=".3") == 0


@needs_fork
def test_an_import_that_hangs_holds_up_no_fork_for_good(tmp_path: Path) -> None:
    assert run(tmp_path, wait="", first="psutil_source.LIMIT_S = .1", program=HANGING) == 0


def test_an_import_that_hangs_holds_up_no_other_thread_for_good(tmp_path: Path) -> None:
    program = HANGING[: HANGING.index("child = ")] + (
        "try:\n    load_psutil()\nexcept ImportError:\n    os._exit(0)\nos._exit(1)\n"
    )
    assert run(tmp_path, wait="", first="psutil_source.LIMIT_S = .1", program=program) == 0
