"""From a loaded engine to the end of the server: listens, tells that it is ready, and stops when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable

from gearshift.runtime import Engine
from gearshift.server.access import Access
from gearshift.server.http_server import HttpServer
from gearshift.server.limits import Limits
from gearshift.server.service import Service

SIGNALS = (signal.SIGTERM, signal.SIGINT)
NOTIFY = "NOTIFY_SOCKET"
"""Variable in which systemd names the socket that it is told at (`sd_notify`)."""


def serve(
    engine: Engine, bound: socket.socket, access: Access, limits: Limits, started: Callable[[Service], object]
) -> None:
    """Serve an engine at a bound socket until SIGTERM or Ctrl-C; requests that run then are finished.

    `started` is called as soon as clients are answered. A second signal ends the process at once: it is left to the
    system, since Python would tell of every request that breaks off.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        asyncio.run(_serve(engine, bound, access, limits, started))
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


async def _serve(
    engine: Engine, bound: socket.socket, access: Access, limits: Limits, started: Callable[[Service], object]
) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    service = Service(engine, access, limits)
    server = HttpServer(service)
    for number in SIGNALS:
        loop.add_signal_handler(number, told.set)
    try:
        await server.start(bound)
        started(service)
        notify("READY=1")
        await told.wait()
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        notify("STOPPING=1")
        await server.stop()


def notify(state: str) -> None:
    """Tell systemd of a state, if it started this program as a service of `Type=notify`."""
    place = os.environ.get(NOTIFY)
    if not place:
        return
    address = "\0" + place[1:] if place.startswith("@") else place
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.sendto(state.encode(), address)
