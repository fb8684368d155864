"""Requests and answers of HTTP as values, whichever server reads and writes them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from gearshift.errors import (
    DeadlineError,
    DeadlinePassedError,
    EngineClosedError,
    GearshiftError,
    InputError,
    QueueFullError,
)
from gearshift.runtime.serving.request import checked_deadline

JSON = "application/json"
DEADLINE = "Gearshift-Deadline-Ms"
"""Header of a request: milliseconds that are left of its deadline when it is sent. Clocks of machines differ, and so no
moment is sent."""

STATUSES: tuple[tuple[type[GearshiftError], int], ...] = (
    (InputError, 400),
    (DeadlineError, 504),
    (QueueFullError, 503),
    (EngineClosedError, 503),
)
"""Error -> status; any other is 500."""


@dataclass(frozen=True)
class Call:
    """Request with its whole body."""

    method: str
    path: str
    """Path without a query, percent signs decoded."""
    headers: Mapping[str, str]
    """Headers by name, in which capitals make no difference."""
    body: bytes = b""
    received_s: float = field(default_factory=time.perf_counter)
    """Moment at which its headers had come, by `time.perf_counter`."""

    @property
    def spent_ms(self) -> float:
        """Milliseconds since its headers had come."""
        return (time.perf_counter() - self.received_s) * 1e3

    @property
    def deadline_ms(self) -> float | None:
        """Deadline in ms from the headers on; None without one. Raises InputError if it is none."""
        given = self.headers.get(DEADLINE)
        if given is None:
            return None
        if not given.isascii() or "_" in given:  # numbers for Python alone: 1_0
            return checked_deadline(given)
        try:
            return checked_deadline(float(given))
        except ValueError:  # no number; an InputError is a ValueError too
            return checked_deadline(given)

    def left_ms(self) -> float | None:
        """Return the milliseconds that are left of the deadline; None without one.

        Raises InputError, or DeadlinePassedError if none are left.
        """
        deadline_ms = self.deadline_ms
        if deadline_ms is None:
            return None
        left = deadline_ms - self.spent_ms
        if left <= 0:
            raise DeadlinePassedError(
                f"dropped: its deadline of {deadline_ms:g} ms went by before its body had come; send it in one piece"
            )
        return left


@dataclass(frozen=True)
class Reply:
    """Answer with its whole body."""

    status: int
    body: bytes
    kind: str = JSON
    """Content type."""
    headers: Mapping[str, str] = field(default_factory=dict)


def json_reply(fields: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Make an answer of values for JSON."""
    return Reply(status, json.dumps(fields, allow_nan=False).encode(), JSON, headers or {})


def refusal(call: Call, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Make an answer that says why there is none; KServe's protocol has the message alone."""
    error: object = message if call.path.startswith("/v2") else {"type": kind, "message": message}
    return json_reply({"error": error}, status, headers)


def refusal_of(call: Call, error: GearshiftError) -> Reply:
    """Make the answer for an error of the engine."""
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
    headers = {"Retry-After": "1"} if status == 503 else {}
    return refusal(call, status, type(error).__name__, str(error), headers)
