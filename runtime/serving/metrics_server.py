"""HTTP server for the metrics of an engine, reachable from this machine alone."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from gearshift.errors import InputError

LOOPBACK = "127.0.0.1"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATIENCE_S = 5.0
"""Seconds that a client may take to send its request; other clients wait behind it."""


class MetricsServer:
    """HTTP server that answers GET /metrics on 127.0.0.1 with `text()`, in a thread of its own until `close`.

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
        self._thread = threading.Thread(target=self._serve, name="gearshift-metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Port that is served."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop serving and free the port."""
        self._closed = True
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), timeout=PATIENCE_S):
            pass  # wakes the thread
        self._thread.join()
        self._server.server_close()

    def _serve(self) -> None:
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
