from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.errors import InputError, QueueFullError
from gearshift.runtime.serving.queue import MOST_STALE, DeadlineQueue, Waiting

DUES = st.one_of(st.floats(0, 100), st.just(math.inf))


@given(st.lists(DUES, max_size=40))
def test_the_earliest_deadline_comes_first_and_equal_ones_in_the_order_of_arrival(dues: list[float]) -> None:
    queue: DeadlineQueue[int] = DeadlineQueue()
    for number, due in enumerate(dues):
        queue.push(Waiting(number, due))
    expected = sorted(range(len(dues)), key=lambda number: (dues[number], number))
    assert [waiting.item for waiting in queue.most_urgent(5)] == expected[:5]
    assert [queue.pop().item for _ in dues] == expected
    assert len(queue) == 0


@given(st.lists(DUES, min_size=1, max_size=40), st.data())
def test_one_that_is_removed_waits_no_more_and_the_others_keep_their_order(
    dues: list[float], data: st.DataObject
) -> None:
    queue: DeadlineQueue[object] = DeadlineQueue()
    items: list[Waiting[object]] = [Waiting(object(), due) for due in dues]
    for item in items:
        queue.push(item)
    gone = data.draw(st.integers(0, len(dues) - 1))
    assert queue.remove(items[gone])
    assert not queue.remove(items[gone])
    expected = sorted((due, number) for number, due in enumerate(dues) if number != gone)
    kept = [items[number] for _, number in expected]
    assert queue.most_urgent(3) == kept[:3]
    assert queue.everyone() == kept
    assert [queue.pop() for _ in kept] == kept
    assert len(queue) == 0


def test_a_full_queue_refuses_one_more_and_keeps_those_that_wait() -> None:
    queue: DeadlineQueue[int] = DeadlineQueue(10_000)
    for number in range(10_000):
        queue.push(Waiting(number))
    with pytest.raises(QueueFullError, match="10000 requests wait already"):
        queue.push(Waiting(10_000, 0.0))
    assert len(queue) == 10_000
    assert queue.pop().item == 0
    queue.push(Waiting(10_000, 0.0))
    assert queue.pop().item == 10_000


def test_those_without_a_deadline_come_last() -> None:
    queue: DeadlineQueue[str] = DeadlineQueue()
    queue.push(Waiting("whenever"))
    queue.push(Waiting("in a year", 3e7))
    assert [queue.pop().item, queue.pop().item] == ["in a year", "whenever"]


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, None])
def test_a_limit_that_is_no_number_of_requests_is_refused(limit: object) -> None:
    with pytest.raises(InputError, match="queue limit: expected a whole number of at least 1"):
        DeadlineQueue(limit)  # type: ignore[arg-type]


def test_an_empty_queue_has_nothing_to_give() -> None:
    with pytest.raises(IndexError):
        DeadlineQueue[int]().pop()


def test_those_taken_back_take_no_room_and_no_memory() -> None:
    queue: DeadlineQueue[int] = DeadlineQueue(10)
    for number in range(10_000):
        one = Waiting(number, float(-number))
        queue.push(one)
        assert queue.remove(one)
    assert len(queue) == 0
    assert len(queue._heap) <= MOST_STALE + 1
