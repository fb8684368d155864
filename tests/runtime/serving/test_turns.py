"""Turns of several engines: one call at a time, in order of priority and deadline, whatever comes out of a call."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gearshift.errors import InputError
from gearshift.runtime.background import wait_until
from gearshift.runtime.serving.turns import Came, InLine, Share, Turns, Waits

PATIENCE_S = 30


class Held:
    """A turn that is held until it is let go."""

    def __init__(self, turns: Turns) -> None:
        self._go, self._thread = threading.Event(), threading.Thread(target=self._hold, args=(turns,))
        self._began = threading.Event()
        self._thread.start()
        assert self._began.wait(PATIENCE_S)

    def _hold(self, turns: Turns) -> None:
        def held() -> None:
            self._began.set()
            assert self._go.wait(PATIENCE_S)

        turns.share(0).take((1.0,), 0.0, held)

    def let(self) -> None:
        self._go.set()
        self._thread.join(PATIENCE_S)


def in_line(turns: Turns, count: int) -> None:
    """Wait until so many wait in line."""
    assert wait_until(lambda: len(turns._line) == count, PATIENCE_S)


def started(function: Callable[[], Any]) -> threading.Thread:
    """Start a thread that calls a function."""
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_the_highest_priority_has_its_turn_first_and_among_equals_the_earliest_deadline() -> None:
    turns, order = Turns(), list[str]()
    low, high = turns.share(1), turns.share(2)
    held = Held(turns)
    waiting = []
    asked = [(low, 5.0, "low, late"), (high, 9.0, "high, late"), (low, 3.0, "low, soon"), (high, 7.0, "high, soon")]
    for place, (share, due_s, name) in enumerate(asked):
        waiting.append(started(functools.partial(share.take, (1.0,), due_s, order.append, name)))
        in_line(turns, place + 1)
    held.let()
    for thread in waiting:
        thread.join(PATIENCE_S)
    assert order == ["high, soon", "high, late", "low, soon", "low, late"]


def test_a_queue_whose_first_deadline_changes_meanwhile_has_its_turn_by_the_new_one() -> None:
    turns, order, due_s = Turns(), list[str](), [9.0]
    share = turns.share(0)
    held = Held(turns)
    queue = started(lambda: share.take_next(lambda: due_s[0], lambda: order.append("queue")))
    in_line(turns, 1)
    other = started(lambda: share.take((1.0,), 5.0, order.append, "request"))
    in_line(turns, 2)
    due_s[0] = 1.0
    held.let()
    queue.join(PATIENCE_S)
    other.join(PATIENCE_S)
    assert order == ["queue", "request"]


def test_two_calls_never_run_at_once() -> None:
    turns, inside, most = Turns(), list[int](), list[int]()

    def call() -> None:
        inside.append(1)
        most.append(len(inside))
        inside.pop()

    def calls(share: Share) -> None:
        for _ in range(50):
            share.take((1.0,), 1.0, call)

    threads = [started(functools.partial(calls, turns.share(place % 2))) for place in range(4)]
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(most) == 200 and set(most) == {1}


def test_a_call_within_a_turn_has_the_same_turn() -> None:
    turns = Turns()
    one, other = turns.share(0), turns.share(5)
    assert one.take((1.0,), 1.0, lambda: other.take((1.0,), 1.0, lambda: "both")) == "both"


def test_an_error_frees_the_turn() -> None:
    share = Turns().share(0)

    def fails() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        share.take((1.0,), 1.0, fails)
    assert share.take((1.0,), 1.0, lambda: "next") == "next"


def test_one_who_left_the_line_by_an_interrupt_keeps_nobody_waiting() -> None:
    turns = Turns()
    turns._line.add(InLine(100, lambda: 0.0))  # what an exception right after its place was freed leaves
    assert turns.share(0).take((1.0,), 1.0, lambda: "next") == "next"


def test_a_mark_of_an_owner_that_an_interrupt_left_keeps_nobody_waiting() -> None:
    turns = Turns()
    turns._owner = -1
    assert turns.share(0).take((1.0,), 1.0, lambda: "next") == "next"


def test_requests_in_queues_and_in_line_count_for_engines_of_their_priority_and_below() -> None:
    turns = Turns()
    low, high = turns.share(0), turns.share(1)
    low.waiting, high.waiting = lambda: [Waits((1.0,), 7.0, 0)], lambda: [Waits((2.0,), 8.0, 1)]
    held = Held(turns)
    waits = started(lambda: high.take((3.0,), 9.0, lambda: None))
    in_line(turns, 1)
    assert sorted(low.others()) == [Waits((2.0,), 8.0, 1), Waits((3.0,), 9.0, 1)]
    assert sorted(high.others()) == [Waits((3.0,), 9.0, 1)]  # its own, by another thread; not those of the low one
    held.let()
    waits.join(PATIENCE_S)
    assert sorted(low.others()) == [Waits((2.0,), 8.0, 1)]


def test_a_turn_is_told_to_engines_of_its_priority_and_below() -> None:
    turns = Turns()
    low, middle, also, high = (turns.share(priority) for priority in (0, 1, 1, 2))
    middle.tell(Came(1.0, 20.0, 3.0))
    assert [list(share.heard) for share in (low, middle, also, high)] == [
        [(1.0, 20.0, 3.0)],
        [],
        [(1.0, 20.0, 3.0)],
        [],
    ]


@pytest.mark.parametrize("priority", [-1, 101, 1.5, True, "1", None])
def test_a_priority_that_is_none_is_refused(priority: Any) -> None:
    with pytest.raises(InputError, match="priority: expected a whole number from 0 to 100, got"):
        Turns().share(priority)


def test_the_lock_keeps_a_turn_even_where_its_mark_is_lost() -> None:
    turns, ran = Turns(), list[int]()
    held = Held(turns)
    turns._owner = None
    other = started(lambda: turns.share(0).take((1.0,), 1.0, ran.append, 1))
    assert not wait_until(lambda: bool(ran), 0.1)
    held.let()
    other.join(PATIENCE_S)
    assert ran == [1]
