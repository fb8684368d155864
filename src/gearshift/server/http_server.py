"""HTTP over sockets: aiohttp reads and writes, within limits of size, time and number of clients."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from gearshift.errors import InputError
from gearshift.server.limits import Limits, TooLargeError
from gearshift.server.messages import Call, Reply, refusal
from gearshift.server.service import Service

FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
NAME = "gearshift"
BODIES_S = 1.0
"""Most of the grace that is spent on bodies whose headers came before the end: libraries send the two one after
another, and aiohttp reads nothing any more once it shuts down."""

quiet = logging.getLogger(f"{__name__}.aiohttp")
quiet.setLevel(logging.CRITICAL)  # it tells of each request that cannot be read, with a traceback


class HttpServer:
    """HTTP server for a service, from `start` to `stop`, in the running event loop."""

    def __init__(self, service: Service) -> None:
        self._service, self._limits = service, service.limits
        self._stopping = False
        self._server = _Server(self._handle, self._limits)
        self._reading: set[asyncio.Future[None]] = set()
        """Bodies that are on their way, each done when it is read or given up."""
        self._bodies_s = min(BODIES_S, self._limits.grace_s / 2)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=self._limits.grace_s - self._bodies_s)

    async def start(self, bound: socket.socket) -> None:
        """Listen at a bound socket; raise InputError if another program did so since it was bound."""
        await self._runner.setup()
        try:
            await web.SockSite(self._runner, bound, backlog=self._limits.connections).start()
        except OSError as error:
            raise InputError(
                f"port: another program took it meanwhile ({error.strerror}); name another port"
            ) from error

    async def stop(self) -> None:
        """Accept no client any more, let requests finish within the grace, and close all connections."""
        self._service.ready = False
        self._stopping = True
        for site in list(self._runner.sites):
            await site.stop()
        if self._reading:
            await asyncio.wait(set(self._reading), timeout=self._bodies_s)
        await self._runner.cleanup()

    @property
    def busy(self) -> int:
        """Number of clients whose request is being read or answered."""
        return len(self._server.busy)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._server.busy.add(request.protocol)
        try:
            reply, whole = await self._replied(request)
            return await self._sent(request, reply, close=self._stopping or not whole)
        finally:
            self._server.busy.discard(request.protocol)

    async def _replied(self, request: web.BaseRequest) -> tuple[Reply, bool]:
        """Return the answer, and whether the request was read to its end."""
        received_s = time.perf_counter()
        call = Call(request.method, request.path, request.headers, b"", received_s)
        try:
            async with asyncio.timeout(self._limits.patience_s):
                body = await self._body(request)
        except TimeoutError:
            message = f"the body took longer than {self._limits.patience_s:g} s; send it in one piece"
            return refusal(call, 408, "RequestTimeout", message), False
        except TooLargeError:
            return self._service.too_large(call), False
        except (web.PayloadAccessError, web.RequestPayloadError, ValueError):  # of a body that broke off
            return refusal(call, 400, "InputError", "the body could not be read; send it whole"), False
        return await self._service.reply(Call(request.method, request.path, request.headers, body, received_s)), True

    async def _body(self, request: web.BaseRequest) -> bytes:
        if (request.content_length or 0) > self._limits.body_kb * 1024:
            raise TooLargeError
        done = asyncio.get_running_loop().create_future()
        self._reading.add(done)
        try:
            return await self._limits.body_of(request.content.iter_any())
        finally:
            self._reading.discard(done)
            done.set_result(None)

    async def _sent(self, request: web.BaseRequest, reply: Reply, *, close: bool) -> web.StreamResponse:
        """Write the whole answer here, so that a client that does not take it is given up."""
        response = web.Response(
            status=reply.status,
            body=reply.body,
            headers={"Server": NAME, "Content-Type": reply.kind, **reply.headers},
        )
        if close:
            response.force_close()
        try:
            async with asyncio.timeout(self._limits.patience_s):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        return response


class _Server(web.Server):
    """aiohttp's server with a limit on connections: one more ends the one that has been idle for longest."""

    def __init__(self, handler: Any, limits: Limits) -> None:
        self.busy: set[object] = set()
        self._most = limits.connections
        self._own: dict[str, Any] = {
            "keepalive_timeout": limits.idle_s,
            "lingering_time": min(1.0, limits.patience_s),
            "access_log": None,
            "logger": quiet,
            "auto_decompress": False,
        }
        super().__init__(handler, handler_cancellation=True, **self._own)

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._own)

    def has_room(self) -> bool:
        """Return whether one more client may come, after an idle one had to leave if there were too many."""
        there = list(self._there())
        if len(there) < self._most:
            return True
        idle = next((one for one in there if one not in self.busy), None)
        if idle is None:
            return False
        idle.force_close()
        return True

    def _there(self) -> Iterator[web.RequestHandler]:
        """Yield the connections that are open, the oldest first."""
        return (one for one in self.connections if one.transport is not None)


class _Connection(web.RequestHandler):
    """Connection of a client, unless there are too many."""

    __slots__ = ("_counted_by",)

    def __init__(self, server: _Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._counted_by = server

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Refuse what is no request in one line of our own; aiohttp's has several, and names its version."""
        plain = super().handle_error(request, status, exc, message)
        if status >= 500:
            return plain
        call = Call(request.method, request.path, request.headers)
        reply = refusal(call, status, "InputError", "the request could not be read as HTTP; ask by a library for HTTP")
        response = web.Response(status=status, body=reply.body, headers={"Server": NAME, "Content-Type": reply.kind})
        response.force_close()
        return response

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._counted_by.has_room():
            super().connection_made(transport)
        elif isinstance(transport, asyncio.WriteTransport):
            transport.write(FULL)
            transport.close()
