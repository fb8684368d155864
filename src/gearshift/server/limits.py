"""Limits of a server: how much a request may bring, how many clients there may be, and how long they are waited for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from gearshift.errors import InputError
from gearshift.number_checks import is_finite, is_whole, shown
from gearshift.settings import setting

MOST = {"body_kb": 1 << 20, "texts": 1 << 16, "connections": 1 << 16}


class TooLargeError(Exception):
    """A body beyond the limit."""


@dataclass(frozen=True)
class Limits:
    """Limits of one server. Raises InputError that names the field that is out of its range."""

    body_kb: int = setting(1024, "largest body of a request, in units of 1024 bytes")
    texts: int = setting(128, "most texts in one request; others wait while a list runs")
    connections: int = setting(256, "most clients at once; one more ends the one that has been idle for longest")
    patience_s: float = setting(
        10.0, "seconds in which a client must send a body, and again take the answer", unit="SECONDS"
    )
    idle_s: float = setting(60.0, "seconds after which a connection without a request is closed", unit="SECONDS")
    grace_s: float = setting(
        30.0, "seconds that requests have to finish after SIGTERM, before they are ended", unit="SECONDS"
    )

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            if not is_whole(getattr(self, name), 1, most):
                raise InputError(f"{name}: expected a whole number from 1 to {most}, got {shown(getattr(self, name))}")
        for name in ("patience_s", "idle_s", "grace_s"):
            seconds = getattr(self, name)
            if not is_finite(seconds) or not 0 < seconds <= 86400:
                raise InputError(f"{name}: expected a number of seconds above 0 and up to 86400, got {shown(seconds)}")

    async def body_of(self, parts: AsyncIterator[bytes]) -> bytes:
        """Return the body that arrives in parts; raise TooLargeError as soon as it is beyond the limit."""
        most, body = self.body_kb * 1024, bytearray()
        async for part in parts:
            if len(body) + len(part) > most:
                raise TooLargeError
            body += part
        return bytes(body)
