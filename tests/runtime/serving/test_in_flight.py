from __future__ import annotations

import threading

import pytest

from gearshift.errors import EngineClosedError
from gearshift.runtime.serving.request import InFlight


def test_closing_waits_for_those_inside() -> None:
    gate, entered, leave, closed = InFlight(), threading.Event(), threading.Event(), threading.Event()

    def request() -> None:
        with gate:
            entered.set()
            leave.wait(30)

    def close() -> None:
        gate.close()
        closed.set()

    inside, closing = threading.Thread(target=request), threading.Thread(target=close)
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
    with pytest.raises(EngineClosedError, match="this engine is closed"), gate:
        pass


def test_only_the_first_to_close_is_told_so() -> None:
    gate = InFlight()
    assert [gate.close(), gate.close()] == [True, False]


def test_a_request_that_fails_is_out() -> None:
    gate = InFlight()
    with pytest.raises(ValueError, match="inside"), gate:
        raise ValueError("inside")
    assert gate.close()
