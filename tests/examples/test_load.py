"""The demo's load: processes that are really there, really burn, and are really gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from examples.demo.load import Burners, Schedule

PATIENCE_S = 60
"""Time that a state is waited for before it counts as never coming: no test is faster or slower for it."""


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def stopped(pid: int) -> bool:
    return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)


def cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    ("time_s", "on"),
    [(0, False), (2.9, False), (3, True), (7.9, True), (8, False), (10.9, False), (11, True), (16, False)],
)
def test_the_load_is_off_and_then_on_in_every_period(time_s: float, on: bool) -> None:
    assert Schedule(off_s=3, on_s=5).on_at(time_s) is on


def test_burners_are_held_at_first_burn_when_switched_on_and_are_held_again() -> None:
    with Burners(2) as burners:
        assert len(set(burners.pids)) == 2
        wait_until(lambda: all(map(stopped, burners.pids)))
        burners.switch(on=True)
        before = [cpu_s(pid) for pid in burners.pids]
        wait_until(lambda: all(cpu_s(pid) > was + 0.1 for pid, was in zip(burners.pids, before, strict=True)))
        burners.switch(on=True)  # changes nothing
        assert not any(map(stopped, burners.pids))
        burners.switch(on=False)
        wait_until(lambda: all(map(stopped, burners.pids)))
        held = [cpu_s(pid) for pid in burners.pids]
        time.sleep(0.1)
        assert [cpu_s(pid) for pid in burners.pids] == held


@pytest.mark.parametrize("on", [False, True])
def test_burners_are_gone_after_the_block_whether_held_or_burning(on: bool) -> None:
    with Burners(2) as burners:
        burners.switch(on=on)
    assert not any(psutil.pid_exists(pid) for pid in burners.pids)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("bad")])
def test_burners_are_gone_after_an_error(error: BaseException) -> None:
    with pytest.raises(type(error)), Burners(1) as burners:
        burners.switch(on=True)
        raise error
    assert not psutil.pid_exists(burners.pids[0])


def test_a_burner_that_somebody_else_ended_is_no_error() -> None:
    with Burners(2) as burners:
        os.kill(burners.pids[0], signal.SIGKILL)
        wait_until(lambda: gone(burners.pids[0]))
        burners.switch(on=True)
        burners.switch(on=False)
    assert not any(psutil.pid_exists(pid) for pid in burners.pids)


def test_no_burners_are_no_load() -> None:
    with Burners(0) as burners:
        burners.switch(on=True)
        assert burners.pids == ()


KILLED = """
import os, signal
from examples.demo.load import Burners
burners = Burners(1)
burners.switch(on=True)
print(*burners.pids, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_burner_ends_by_itself_where_its_program_was_killed() -> None:
    root = Path(__file__).parents[2]
    call = [sys.executable, "-c", KILLED]
    done = subprocess.run(call, cwd=root, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    wait_until(lambda: gone(pid))
