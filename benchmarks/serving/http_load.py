"""Load of an HTTP server on kept connections: requests at a rate, or as fast as the answers come.

A process of its own:

    python -m benchmarks.serving.http_load '{"port": 8090, "path": "/v1/classify", "rate": 1000, "seconds": 30}'

At a rate, request k is due at k / rate whatever became of those before it, and its latency counts from then on: a
server that falls behind shows it. What comes back is counted by status; a connection that ends is an error.
"""

from __future__ import annotations

import collections
import json
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field

CONNECTIONS = 16
TEXT = "turn the lights in the kitchen off and play some quiet music until seven"
BROKEN = "broken off"


@dataclass
class Load:
    """Requests of one load: those that are due, and what became of those that were sent."""

    request: bytes
    rate: float | None
    seconds: float
    latencies_ms: list[float] = field(default_factory=list)
    statuses: collections.Counter[str] = field(default_factory=collections.Counter)
    sent: int = 0

    def due_s(self) -> float:
        """Return the moment in seconds from the beginning at which the next request is due; infinity at the end."""
        due = 0.0 if self.rate is None else self.sent / self.rate
        return due if due < self.seconds else float("inf")

    def send(self, client: socket.socket) -> None:
        """Send the next request."""
        self.sent += 1
        client.sendall(self.request)

    def take(self, client: socket.socket, due: float, now: float) -> bool:
        """Take the answer of a request that was due at a moment; return whether the connection goes on."""
        received = b""
        while b"\r\n\r\n" not in received:
            part = client.recv(65536)
            if not part:
                self.statuses[BROKEN] += 1
                return False
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
        while len(body) < size:
            body += client.recv(65536)
        self.statuses[head[9:12].decode()] += 1
        self.latencies_ms.append((now - due) * 1e3)
        return True


def run(port: int, request: bytes, rate: float | None, seconds: float) -> Load:
    """Send requests for some seconds, and take all answers."""
    load, selector = Load(request, rate, seconds), selectors.DefaultSelector()
    free = collections.deque(socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS))
    for client in free:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(client, selectors.EVENT_READ)
    due: dict[socket.socket, float] = {}
    began = time.perf_counter()
    while free or due:
        now = time.perf_counter() - began
        over = now >= seconds if rate is None else load.due_s() == float("inf")
        while free and not over and load.due_s() <= now:
            client = free.popleft()
            due[client] = load.due_s() if rate is not None else now
            load.send(client)
        if over and not due:
            break
        for key, _ in selector.select(max(0.0, min(load.due_s() - now, 0.1)) if free and not over else 0.1):
            client = key.fileobj  # type: ignore[assignment]  # sockets alone were registered
            if load.take(client, due.pop(client), time.perf_counter() - began):
                free.append(client)
            else:
                selector.unregister(client)
    return load


def main() -> None:
    """Print counts and latencies of a load that is described in JSON."""
    wanted = json.loads(sys.argv[1])
    body = json.dumps({"text": TEXT}).encode()
    head = f"POST {wanted['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    began = time.perf_counter()
    load = run(wanted["port"], request, wanted["rate"], wanted["seconds"])
    took = time.perf_counter() - began
    found = {"sent": load.sent, "statuses": dict(load.statuses), "seconds": took, "latencies_ms": load.latencies_ms}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
