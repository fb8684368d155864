"""Answers to the requests of HTTP that the metrics get: bytes in, bytes out. Sockets are in `metrics_server`."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATH = "/metrics"
METHODS = ("GET", "HEAD")
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
MOST_HEAD_BYTES = 16 * 1024
"""Length up to which a request line with its headers is read."""
END = re.compile(rb"\n\r?\n")
FAILED = b"HTTP/1.0 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

logger = logging.getLogger(__name__)


class Responder:
    """Answers of one server on `port`, which show `text()`."""

    def __init__(self, port: int, text: Callable[[], str]) -> None:
        names = [f"{name}:{port}" for name in LOCAL_NAMES]
        self.hosts = frozenset([*names, *LOCAL_NAMES] if port == 80 else names)
        self.expected = f"expected the host {LOCAL_NAMES[0]}:{port} or localhost:{port}\n"
        self.text = text
        self._warned = False

    def answer(self, head: bytes) -> bytes:
        """Return the whole answer to a request, given what came of it; empty if nothing came."""
        try:
            return _Request(head, self).answered()
        except Exception as error:  # a thread that ends by it would print its traceback
            if not self._warned:
                self._warned = True
                logger.warning("metrics could not be made: %s: %s", type(error).__name__, " ".join(str(error).split()))
            return FAILED


def length_of_head(received: bytes) -> int | None:
    """Return the number of bytes up to the empty line that ends a request without a body; None if it has not come."""
    found = END.search(received)
    return None if found is None else found.end()


class _Request(BaseHTTPRequestHandler):
    """Request in memory, read and answered by the standard library's rules."""

    default_request_version = "HTTP/1.0"  # answers to what cannot be read have a status line too

    def __init__(self, head: bytes, responder: Responder) -> None:  # the base class would read from a socket here
        self._head, self._responder = head, responder
        self.wfile = self._answered = io.BytesIO()

    def answered(self) -> bytes:
        self.rfile = io.BytesIO(self._head)
        self.raw_requestline = self.rfile.readline()
        self.command, self.requestline, self.request_version = "", "", self.default_request_version
        if (length_of_head(self._head) or len(self._head)) > MOST_HEAD_BYTES:
            self._reply(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"expected at most {MOST_HEAD_BYTES} bytes\n")
        elif self.parse_request():
            self._answer()
        return self._answered.getvalue()

    def _answer(self) -> None:
        # A page of the web may be given a name that leads to this machine; its browser then says that name here.
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].strip().lower() not in self._responder.hosts:
            self._reply(HTTPStatus.MISDIRECTED_REQUEST, self._responder.expected)
        elif self.path.partition("?")[0] != PATH:
            self._reply(HTTPStatus.NOT_FOUND, f"metrics are at {PATH}\n")
        elif self.command not in METHODS:
            self._reply(HTTPStatus.METHOD_NOT_ALLOWED, f"expected {' or '.join(METHODS)}\n")
        else:
            self._reply(HTTPStatus.OK, self._responder.text())

    def _reply(self, status: HTTPStatus, text: str) -> None:
        content = text.encode(errors="replace")
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE if status == HTTPStatus.OK else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", ", ".join(METHODS))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that cannot be read."""
        self._reply(HTTPStatus(code), f"{message or HTTPStatus(code).phrase}\n")

    def version_string(self) -> str:
        """Return the name of the server, without the version of Python."""
        return "gearshift"

    def log_message(self, format: str, *values: Any) -> None:
        """Do nothing: a library does not write to its program's standard error."""
