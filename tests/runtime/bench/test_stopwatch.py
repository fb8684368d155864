"""Tests of what a call took, and what it waited, on real threads and beside a real hog."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from gearshift.cpus import available_cpus
from gearshift.runtime.bench.stopwatch import Sample, Stopwatch
from gearshift.runtime.profiles.timing import pinned

HOG = "import time\nend = time.time() + 60\nprint('on', flush=True)\nwhile time.time() < end: pass"


def spin(seconds: float) -> None:
    """Use the CPU for so long, by this thread's own time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.fixture
def hog() -> Iterator[int]:
    """A process that keeps one CPU busy; gives the number of that CPU."""
    cpu = max(available_cpus())
    # It inherits the one CPU.
    with pinned(1), subprocess.Popen([sys.executable, "-c", HOG], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"on\n"
        yield cpu
        process.kill()


def test_time_asleep_is_time_without_a_cpu() -> None:
    with Stopwatch(1) as watch:
        sample = watch.time(lambda: time.sleep(0.02))
    assert sample.wall_ms >= 20
    assert sample.waited_ms > 0.8 * sample.wall_ms
    assert sample.disturbed


def test_beside_a_hog_a_call_waits_and_what_it_did_is_what_is_left(hog: int) -> None:
    with Stopwatch(1) as watch:
        samples = [watch.time(lambda: spin(0.02)) for _ in range(8)]
    assert any(sample.disturbed for sample in samples)
    for sample in samples:
        assert sample.wall_ms - sample.waited_ms == pytest.approx(20, rel=0.25)


def test_threads_that_wait_for_a_cpu_are_counted_together(hog: int) -> None:
    go, done = threading.Event(), threading.Event()

    def helper() -> None:
        go.wait()
        spin(0.03)
        done.set()

    thread = threading.Thread(target=helper)
    thread.start()
    time.sleep(0.01)

    def call() -> None:
        go.set()
        spin(0.03)
        done.wait()

    with Stopwatch(2) as watch:
        assert watch.counts_waiting
        sample = watch.time(call)
    thread.join()
    assert sample.disturbed
    assert sample.waited_ms > 10


def test_a_call_that_waits_a_fiftieth_of_its_time_is_not_disturbed() -> None:
    assert not Sample(100.0, 2.0).disturbed
    assert Sample(100.0, 2.1).disturbed
