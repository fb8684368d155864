"""HTTP server for the metrics of an engine, reachable from this machine alone."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from gearshift.errors import InputError
from gearshift.runtime.background import Background

LOOPBACK = "127.0.0.1"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATIENCE_S = 5.0
"""Seconds that a client may take to send its request; other clients wait behind it."""


class MetricsServer:
    """HTTP server that answers GET /metrics on 127.0.0.1 with `text()`, in a thread of its own from `start` to `close`.

    Raises InputError for a port that is taken, or not allowed.
    """

    def __init__(self, port: int, text: Callable[[], str]) -> None:
        try:
            self._server = HTTPServer((LOOPBACK, port), _handler(text))
        except OSError as error:
            raise InputError(
                f"metrics_port: {LOOPBACK}:{port} cannot be used ({error.strerror}); name another port, or 0"
            ) from error
        self._closed = False
        self._port = int(self._server.server_address[1])
        self._thread = Background()

    def start(self) -> None:
        """Start to answer."""
        self._thread.start(self._serve)

    @property
    def port(self) -> int:
        """Port that is served."""
        return self._port

    def stop(self) -> None:
        """Stop serving, without waiting for the client of this moment."""
        self._closed = True
        with contextlib.suppress(OSError):  # closed already
            self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, which closes it
        if not self._thread.alive:
            self._server.socket.close()

    def close(self, timeout: float | None = None) -> bool:
        """Stop serving and free the port; return whether that took at most `timeout` seconds."""
        self.stop()
        return self._thread.join(timeout)

    def _serve(self) -> None:
        with contextlib.closing(self._server.socket):
            while not self._closed:
                self._server.handle_request()  # not `serve_forever`, which wakes twice a second to see whether to end


def _handler(text: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE_S

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404, explain="metrics are at /metrics")
                return
            content = text().encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *values: Any) -> None:
            """Do nothing: a library does not write to its program's standard error."""

    return Handler
