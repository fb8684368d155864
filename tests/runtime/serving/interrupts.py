"""A signal handler that comes at a chosen point of a call: after the entry of a function, or at the end of one in C.

These are where the interpreter runs handlers. A profiler is called there too, and what it raises comes out as an
exception of a handler does.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

MOST_POINTS = 100_000
"""Number of points that no call here reaches."""

ENOUGH = 10
"""Number of calls one after another that end before their point: calls are not all of the same length, since an engine
learns and looks at its machine in some of them."""


class Handled:
    """Outcome at one point."""

    def __init__(self, point: int) -> None:
        self.point = point
        self.reached = False
        self.raised: BaseException | None = None


def at_point(point: int, handler: Callable[[], object], call: Callable[[], object]) -> Handled:
    """Make a call in whose point of this number, counted from 0, the handler runs."""
    handled, passed = Handled(point), 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal passed
        if event not in ("call", "c_return") or argument is sys.setprofile:
            return
        if passed == point:
            sys.setprofile(None)
            handled.reached = True
            handler()
        passed += 1

    gc.disable()  # a finalizer of what earlier calls left would take the handler's exception: Python ignores those
    sys.setprofile(profile)
    try:
        call()
    except BaseException as error:
        handled.raised = error
    finally:
        sys.setprofile(None)
        gc.enable()
    return handled


def at_each_point(handler: Callable[[], object], call: Callable[[], object], *, every: int = 1) -> Iterator[Handled]:
    """Make a call again and again, with the handler at its first point, at its second, and so on until its end.

    Calls that went through, since they ended before their point, come too. `every`: take only each point of this
    number.
    """
    through = 0
    for point in range(0, MOST_POINTS * every, every):
        handled = at_point(point, handler, call)
        assert handled.reached or handled.raised is None
        yield handled
        through = 0 if handled.reached else through + 1
        if through == ENOUGH:
            assert point > ENOUGH * every, "the call had no points"
            return
    raise AssertionError(f"the call has more than {MOST_POINTS * every} points")
