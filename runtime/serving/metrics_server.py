"""HTTP server for the metrics of an engine, reachable from this machine alone.

Each client has a thread, and all of its waits have a limit, so that none keeps another waiting, nor the end of the
engine. Whatever clients do, nothing of it reaches the program's standard error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable

from gearshift.errors import InputError
from gearshift.runtime.background import Background, Flag, wait_until
from gearshift.runtime.serving.metrics_http import MOST_HEAD_BYTES, Responder, length_of_head

LOOPBACK = "127.0.0.1"
PATIENCE_S = 5.0
"""Seconds that a client may take to send its whole request, and again to take the whole answer."""
MOST_CLIENTS = 16
"""Number of clients at once, each with a thread; one more ends the oldest."""
LINGER_S = 1.0
"""Seconds that the connection stays after the answer, if the client does not close it: a body that it still sends
would have the answer taken back otherwise."""
PAUSE_S = 0.25
"""Seconds between two tries to accept a client while the system has no descriptor or thread for it."""
EVICTION_S = 0.25
"""Seconds that the thread of a client that had to leave may take to end."""

logger = logging.getLogger(__name__)


class MetricsServer:
    """HTTP server that answers GET /metrics on 127.0.0.1 with `text()`, in threads of its own from `start` to `close`.

    Raises InputError for a port that is taken, or not allowed.
    """

    def __init__(self, port: int, text: Callable[[], str]) -> None:
        try:
            self._listener = _listener(port)
        except OSError as error:
            raise InputError(
                f"metrics_port: {LOOPBACK}:{port} cannot be used ({error.strerror}); name another port, or 0"
            ) from error
        self._port = int(self._listener.getsockname()[1])
        self._responder = Responder(self._port, text)
        self._clients: list[_Client] = []
        self._closed = Flag()
        self._warned = False
        self._thread = Background()

    def start(self) -> None:
        """Start to answer."""
        self._thread.start(self._serve)

    @property
    def port(self) -> int:
        """Port that is served."""
        return self._port

    def stop(self) -> None:
        """Stop serving, without waiting for the clients of this moment."""
        self._closed.set()
        with contextlib.suppress(OSError):  # closed already
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread, which closes it
        if not self._thread.alive:
            self._listener.close()
        for client in self._clients.copy():
            client.drop()

    def close(self, timeout: float | None = None) -> bool:
        """Stop serving and free the port; return whether that took at most `timeout` seconds."""
        self.stop()
        return wait_until(lambda: not (self._thread.alive or self._clients), timeout)

    def _serve(self) -> None:
        with contextlib.closing(self._listener):
            while not self._closed.is_set():
                try:
                    self._take(self._listener.accept()[0])
                except (OSError, RuntimeError) as error:  # no descriptor, no thread; or closed
                    self._pause(error)

    def _pause(self, error: Exception) -> None:
        """Wait until the system may have what it lacks; the client of this moment still waits, or was let go."""
        if not (self._closed.is_set() or isinstance(error, ConnectionError) or self._warned):
            self._warned = True
            logger.warning("metrics: no client can be accepted now: %s", error)
        self._closed.wait(PAUSE_S)

    def _take(self, connection: socket.socket) -> None:
        """Have a client answered, or let it go."""
        client = _Client(connection)
        if not self._has_room():
            connection.close()
            return
        self._clients.append(client)
        try:
            client.thread.start(lambda: self._attend(client))
        except RuntimeError:
            self._clients.remove(client)
            connection.close()
            raise
        if self._closed.is_set():  # `stop` may not have seen it
            client.drop()

    def _has_room(self) -> bool:
        """Return whether one more client may come, after the oldest had to leave if there were too many."""
        for oldest in self._clients.copy():
            if len(self._clients) < MOST_CLIENTS:
                break
            oldest.drop()
            oldest.thread.join(EVICTION_S)
        return len(self._clients) < MOST_CLIENTS

    def _attend(self, client: _Client) -> None:
        try:
            client.attend(self._responder)
        finally:
            self._clients.remove(client)


class _Client:
    """Client with a thread, which alone closes its connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.thread = Background()

    def drop(self) -> None:
        """End all waiting for it, from any thread."""
        with contextlib.suppress(OSError):  # gone already
            self._connection.shutdown(socket.SHUT_RDWR)

    def attend(self, responder: Responder) -> None:
        """Read its request and answer it; return also if it breaks off, or is too slow."""
        with contextlib.closing(self._connection), contextlib.suppress(OSError):
            answer = responder.answer(self._head())
            self._connection.settimeout(PATIENCE_S)  # of the whole answer, for `sendall`
            self._connection.sendall(answer)
            self._connection.shutdown(socket.SHUT_WR)
            end_s = time.monotonic() + LINGER_S
            while self._received(end_s):
                pass

    def _head(self) -> bytes:
        """Return the request line and headers, or all that came before the client ended or sent too much."""
        head, end_s = b"", time.monotonic() + PATIENCE_S
        while length_of_head(head) is None and len(head) <= MOST_HEAD_BYTES:
            part = self._received(end_s)
            if not part:
                break
            head += part
        return head

    def _received(self, end_s: float) -> bytes:
        """Return what comes next, empty at the end; raise TimeoutError at `end_s`, however little came at a time."""
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        return self._connection.recv(MOST_HEAD_BYTES)


def _listener(port: int) -> socket.socket:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        if os.name == "posix":  # elsewhere it would let two programs have one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen()
        stack.pop_all()
    return listener
