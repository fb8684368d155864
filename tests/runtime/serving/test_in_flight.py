from __future__ import annotations

import threading

import pytest

from gearshift.errors import EngineClosedError
from gearshift.runtime.serving.in_flight import InFlight


def test_closing_waits_for_those_inside() -> None:
    gate, entered, leave, closed = InFlight(), threading.Event(), threading.Event(), threading.Event()

    def request(_: object) -> None:
        entered.set()
        leave.wait(30)

    def close() -> None:
        gate.close()
        closed.set()

    inside, closing = threading.Thread(target=gate.call, args=[request]), threading.Thread(target=close)
    inside.start()
    assert entered.wait(30)
    closing.start()
    assert not closed.wait(0.05)
    leave.set()
    assert closed.wait(30)
    inside.join()
    closing.join()


def test_nobody_enters_after_it_was_closed() -> None:
    gate = InFlight()
    gate.close()
    with pytest.raises(EngineClosedError, match="this engine is closed"):
        gate.call(lambda _: None)


def test_closing_gives_up_after_its_limit_and_may_be_tried_again() -> None:
    gate, entered, leave = InFlight(), threading.Event(), threading.Event()

    def request(_: object) -> None:
        entered.set()
        leave.wait(30)

    inside = threading.Thread(target=gate.call, args=[request])
    inside.start()
    assert entered.wait(30)
    assert len(gate) == 1
    assert not gate.close(0.01)
    leave.set()
    assert gate.close(30)
    assert len(gate) == 0
    inside.join()


def test_closing_within_a_request_does_not_wait_for_that_one() -> None:
    gate = InFlight()
    assert gate.call(lambda _: gate.close(30))


def test_a_request_that_fails_is_out_even_while_its_exception_is_kept() -> None:
    gate = InFlight()

    def fail(_: object) -> None:
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside") as kept:
        gate.call(fail)
    assert kept.tb
    assert len(gate) == 0
    assert gate.close(0)
