"""Import of psutil by a thread, and a fork in the middle of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SLOW_MODULE = """
import threading
began.set()
threading.Event().wait(.3)
"""
"""Stand-in for psutil whose import takes long enough for a fork to begin meanwhile."""

PROGRAM = """
import builtins, os, signal, sys, threading
from gearshift.runtime.sensors.psutil_source import load_psutil
builtins.began = threading.Event()
thread = threading.Thread(target=load_psutil)
thread.start()
began.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)
    load_psutil()
    os._exit(0)
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_during_the_import_can_import_too(tmp_path: Path) -> None:
    (tmp_path / "psutil.py").write_text(SLOW_MODULE)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], env={**os.environ, "PYTHONPATH": path})
    assert ended.returncode == 0
