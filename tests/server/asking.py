"""Requests as tests make them, with or without a socket."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gearshift.server import Service
from gearshift.server.http_server import HttpServer
from gearshift.server.listening import bound_port
from gearshift.server.messages import Call, Reply
from tests.command_line import PATIENCE_S

TEXT = "turn the lights off"
JSON = {"Content-Type": "application/json"}


class Headers(dict[str, str]):
    """Headers in which capitals make no difference, as servers give them."""

    def __init__(self, given: dict[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in given.items()})

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


def call_of(path: str, body: object = None, *, method: str | None = None, **headers: str) -> Call:
    """A request with a body of JSON, or bytes as they are; underscores stand for hyphens in names of headers."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    given = {**JSON, "Host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Call(method or ("GET" if body is None else "POST"), path, Headers(given), content)


def ask(service: Service, path: str, body: object = None, *, method: str | None = None, **headers: str) -> Reply:
    return asyncio.run(service.reply(call_of(path, body, method=method, **headers)))


def asked(service: Service, path: str, body: object = None, **headers: str) -> Any:
    """Fields of an answer that is one."""
    reply = ask(service, path, body, **headers)
    assert reply.status == 200, reply
    return json.loads(reply.body)


def refused(service: Service, path: str, body: object, status: int = 400, **headers: str) -> str:
    """Message of a refusal."""
    reply = ask(service, path, body, **headers)
    assert reply.status == status, reply
    error = json.loads(reply.body)["error"]
    message: str = error if isinstance(error, str) else error["message"]
    assert message and "\n" not in message
    return message


@dataclass(frozen=True)
class Running:
    """A server on a thread."""

    server: HttpServer
    address: tuple[str, int]

    def client(self) -> socket.socket:
        return socket.create_connection(self.address, PATIENCE_S)


@contextmanager
def running(service: Service) -> Iterator[Running]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def do(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE_S)

    async def started(bound: socket.socket) -> HttpServer:
        server = HttpServer(service)
        await server.start(bound)
        return server

    with bound_port("127.0.0.1", 0) as bound:
        server = do(started(bound))
        try:
            yield Running(server, bound.getsockname())
        finally:
            do(server.stop())
            loop.call_soon_threadsafe(loop.stop)
            thread.join(PATIENCE_S)
            loop.close()


def request_bytes(path: str, body: bytes, **headers: str) -> bytes:
    """A POST as it goes over the wire."""
    given = {"Host": "127.0.0.1", **JSON, "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def response(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = client.recv(1)
        assert part, f"the connection ended after {head!r}"
        head += part
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    body, size = b"", int(headers["content-length"])
    while len(body) < size:
        part = client.recv(size - len(body))  # what is behind belongs to the next answer
        assert part
        body += part
    return int(first.split()[1]), headers, body


def received(client: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)
