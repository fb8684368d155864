"""Candidates are timed in turns, on cores of their own."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from gearshift.errors import InputError
from gearshift.runtime.profiles import timing
from gearshift.runtime.profiles.timing import Times, interleave, pin, pinned

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no threads")


def test_median_and_percentile_are_those_of_all_calls() -> None:
    times = Times.of([float(number) for number in range(1, 101)])
    assert (times.median_ms, times.runs) == (50.5, 100)
    assert times.p95_ms == pytest.approx(95.05)
    assert Times.of([3.0]) == Times(3.0, 3.0, 1)


def test_every_candidate_runs_once_a_round_in_an_order_of_its_own() -> None:
    ran: list[int] = []
    times = interleave({n: lambda n=n: ran.append(n) for n in range(8)}, rounds=4, warm_up=2)  # type: ignore[misc]
    assert ran[:16] == [n for n in range(8) for _ in range(2)]
    rounds = [tuple(ran[first : first + 8]) for first in range(16, 48, 8)]
    assert len(ran) == 48 and len(set(rounds)) == 4
    assert all(sorted(order) == list(range(8)) for order in rounds)
    assert {n: len(values) for n, values in times.items()} == dict.fromkeys(range(8), 4)


def test_a_call_is_timed_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    passed_ns = [0]

    def take(milliseconds: int) -> None:
        passed_ns[0] += milliseconds * 10**6

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter_ns=lambda: passed_ns[0]))
    times = interleave({"slow": lambda: take(20), "fast": lambda: take(3)}, rounds=2, warm_up=1)
    assert times == {"slow": [20.0, 20.0], "fast": [3.0, 3.0]}


def test_enough_is_enough() -> None:
    seen: list[tuple[int, int]] = []
    times = interleave(
        {"one": lambda: None},
        rounds=9,
        enough=lambda done: done >= 3,
        progress=lambda done, planned: seen.append((done, planned)),
    )
    assert len(times["one"]) == 3
    assert seen == [(1, 9), (2, 9), (3, 9)]


@needs_affinity
def test_pinned_keeps_the_thread_on_its_last_cores_and_lets_go_after() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(ZeroDivisionError), pinned() as cores:
        assert cores == [max(before)]
        assert os.sched_getaffinity(0) == set(cores)
        _ = 1 / 0
    assert os.sched_getaffinity(0) == before


@needs_affinity
@pytest.mark.parametrize("threads", [0, -1, 10_000])
def test_more_threads_than_cores_are_refused(threads: int) -> None:
    with pytest.raises(InputError, match="threads: expected 1 to"):
        pin(threads)
