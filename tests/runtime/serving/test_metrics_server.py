"""Server of the metrics, before clients that wait, drip, break off, come in crowds, or come from a page of the web."""

from __future__ import annotations

import _thread
import contextlib
import http.client
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.serving import metrics_server
from gearshift.runtime.serving.metrics_http import FAILED, Responder
from gearshift.runtime.serving.metrics_server import MetricsServer
from tests.command_line import PATIENCE_S

TEXT = "gearshift_slow_down 1.0\n"
FOREVER_S = 10.0 * PATIENCE_S
"""Patience of a server that outlasts every test: what passes did not pass because a client was given up."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetricsServer]:
    monkeypatch.setattr(metrics_server, "PATIENCE_S", FOREVER_S)
    monkeypatch.setattr(metrics_server, "LINGER_S", FOREVER_S)
    with serving() as made:
        yield made


@contextlib.contextmanager
def serving(text: str = TEXT) -> Iterator[MetricsServer]:
    made = MetricsServer(0, lambda: text)
    made.start()
    try:
        yield made
    finally:
        made.close(PATIENCE_S)


def connected(server: MetricsServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)


def asked(server: MetricsServer, sent: bytes) -> bytes:
    """Return all that comes back for `sent`."""
    with connected(server) as client:
        client.sendall(sent)
        return received(client)


def received(client: socket.socket) -> bytes:
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts)


def scraped(server: MetricsServer, method: str = "GET", path: str = "/metrics", **more: str) -> tuple[int, str]:
    """Return status and body; `more`: headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, path, headers=more)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


# Clients that wait, drip and break off


@pytest.mark.parametrize("sent", [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: loc"])
def test_a_client_that_waits_keeps_no_other_waiting(server: MetricsServer, sent: bytes) -> None:
    with connected(server) as idle:
        idle.sendall(sent)
        assert scraped(server) == (200, TEXT)


def test_a_client_that_does_not_read_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "PATIENCE_S", FOREVER_S)
    with serving("# " + "x" * 30_000_000 + "\n") as server, connected(server) as idle:
        idle.sendall(request(server))
        assert idle.recv(1)  # it is being answered, with more than any socket buffers
        assert scraped(server, path="/")[0] == 404


def test_a_crowd_that_waits_keeps_no_other_waiting_and_has_few_threads(server: MetricsServer) -> None:
    scraped(server)
    before = _thread._count()
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connected(server))
        assert scraped(server) == (200, TEXT)
        assert _thread._count() - before <= metrics_server.MOST_CLIENTS


def test_a_crowd_that_asks_at_once_is_answered(server: MetricsServer) -> None:
    for _ in range(100):
        assert scraped(server) == (200, TEXT)


def test_a_client_that_drips_bytes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "PATIENCE_S", 0.3)
    with serving() as server, connected(server) as client:
        client.settimeout(0.05)
        assert any(is_given_up(client, b"x") for _ in range(400))


def is_given_up(client: socket.socket, drop: bytes) -> bool:
    """Send one more drop; return whether the server has ended the connection."""
    try:
        client.sendall(drop)
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_closing_does_not_wait_for_a_client_that_drips(server: MetricsServer) -> None:
    ended = threading.Event()
    with connected(server) as client:
        client.sendall(b"GET /")

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not ended.wait(0.05):
                    client.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            scraped(server, path="/")  # the one that drips was accepted before
            assert server.close(5.0)
        finally:
            ended.set()
            dripping.join()


def test_closing_does_not_wait_for_a_client_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "PATIENCE_S", FOREVER_S)
    with serving("# " + "x" * 30_000_000 + "\n") as server, connected(server) as idle:
        idle.sendall(request(server))
        assert idle.recv(1)
        assert server.close(5.0)


def test_clients_that_break_off_leave_nothing_on_standard_error(
    server: MetricsServer, capfd: pytest.CaptureFixture[str]
) -> None:
    for sent in (b"", b"GET /", request(server)) * 17:
        client = connected(server)
        client.sendall(sent)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # `close` sends a reset
        client.close()
    assert scraped(server) == (200, TEXT)
    assert server.close(PATIENCE_S)
    assert capfd.readouterr().err == ""


def test_metrics_that_cannot_be_made_are_a_500_and_one_line(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def text() -> str:
        raise OSError("/proc is\ngone")

    server = MetricsServer(0, text)
    server.start()
    assert [scraped(server)[0] for _ in range(3)] == [500] * 3
    assert server.close(PATIENCE_S)
    assert capfd.readouterr().err == ""
    assert [record.getMessage() for record in caplog.records] == ["metrics could not be made: OSError: /proc is gone"]
    assert caplog.records[0].exc_info is None


WITHOUT_DESCRIPTORS = """
import resource, socket, time, urllib.request
from gearshift.runtime.serving.metrics_server import MetricsServer

server = MetricsServer(0, lambda: "well")
server.start()
client = socket.socket()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(open("/dev/null"))
except OSError:
    pass
before_s = time.process_time()
client.connect(("127.0.0.1", server.port))
time.sleep(1)
spent_s = time.process_time() - before_s
for file in taken:
    file.close()
with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=20) as answer:
    print(answer.read().decode(), spent_s < 0.4, server.close(5))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of descriptors")
def test_no_descriptor_left_spins_no_core_and_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_DESCRIPTORS], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["well", "True", "True"], done.stderr
    assert done.stderr.count("\n") <= 1
    assert "Traceback" not in done.stderr


def test_no_thread_left_is_one_line_and_the_next_client_is_answered(
    server: MetricsServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    assert scraped(server) == (200, TEXT)
    with monkeypatch.context() as without_threads:
        without_threads.setattr(_thread, "start_new_thread", refuse)
        for _ in range(2):
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                scraped(server)
    assert scraped(server) == (200, TEXT)
    assert server.close(PATIENCE_S)
    assert capfd.readouterr().err == ""
    assert [record.getMessage() for record in caplog.records] == [
        "metrics: no client can be accepted now: can't start new thread"
    ]


# What is asked


def request(server: MetricsServer, line: str = "GET /metrics HTTP/1.1", host: str | None = None) -> bytes:
    return f"{line}\r\nHost: {host or f'127.0.0.1:{server.port}'}\r\n\r\n".encode()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LocalHost", "[::1]"])
def test_this_machine_by_any_of_its_names_is_answered(server: MetricsServer, name: str) -> None:
    assert scraped(server, Host=f"{name}:{server.port}") == (200, TEXT)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",
        "evil.example",
        "127.0.0.1.evil.example:{port}",
        "localhost.evil.example:{port}",
        "evil.example:{port}@localhost:{port}",
        "localhost:{port}@evil.example",
        "localhost:{port}:{port}",
        "localhost:{port},evil.example:{port}",
        "localhost:1",
        "localhost:",
        "localhost",
        "::1:{port}",
        "0.0.0.0:{port}",
        "169.254.1.1:{port}",
        "",
    ],
)
def test_a_name_of_the_web_that_leads_here_is_refused(server: MetricsServer, host: str) -> None:
    status, body = scraped(server, Host=host.format(port=server.port))
    assert status == 421
    assert "gearshift_" not in body
    assert f"expected the host 127.0.0.1:{server.port}" in body


@pytest.mark.parametrize("hosts", ["", "Host: localhost:{port}\r\nHost: evil.example\r\n"])
def test_no_host_and_two_hosts_are_refused(server: MetricsServer, hosts: str) -> None:
    sent = f"GET /metrics HTTP/1.1\r\n{hosts.format(port=server.port)}\r\n".encode()
    assert asked(server, sent).startswith(b"HTTP/1.0 421 ")


def test_head_is_answered_without_the_text(server: MetricsServer) -> None:
    head, _, body = asked(server, request(server, "HEAD /metrics HTTP/1.1")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 ")
    assert f"Content-Length: {len(TEXT)}".encode() in head.split(b"\r\n")
    assert body == b""


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metric", "/metrics/..", "http://evil.example/metrics"])
def test_unknown_paths_are_404(server: MetricsServer, path: str) -> None:
    for method in ("GET", "HEAD"):
        assert asked(server, request(server, f"{method} {path} HTTP/1.1")).startswith(b"HTTP/1.0 404 ")


def test_a_query_is_ignored(server: MetricsServer) -> None:
    assert scraped(server, path="/metrics?name=x") == (200, TEXT)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "BREW"])
def test_other_methods_are_405(server: MetricsServer, method: str) -> None:
    sent = request(server, f"{method} /metrics HTTP/1.1")
    head = asked(server, sent).partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.0 405 ")
    assert b"Allow: GET, HEAD" in head.split(b"\r\n")


def test_a_body_that_nobody_reads_does_not_lose_the_answer(server: MetricsServer) -> None:
    sent = request(server, "POST /metrics HTTP/1.1") + b"x" * 100_000
    assert asked(server, sent).startswith(b"HTTP/1.0 405 ")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\r\n", b"400"),  # TLS
        (b"GET\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/x\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/9.0\r\n\r\n", b"505"),
        (b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /metrics HTTP/1.1\r\nA: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (b"x" * 200_000, b"431"),
    ],
)
def test_what_is_no_request_is_told_and_leaves_nothing_on_standard_error(
    server: MetricsServer, capfd: pytest.CaptureFixture[str], sent: bytes, status: bytes
) -> None:
    answer = asked(server, sent)
    assert status in answer.splitlines()[0]
    assert b"gearshift_" not in answer
    assert scraped(server) == (200, TEXT)
    assert server.close(PATIENCE_S)
    assert capfd.readouterr().err == ""


DAMAGE = (b"\r\n", b" ", b"\0", b":", b"Host: a\r\n", b"\xff", b"=?utf-8?q?", b"\t", b"", b"HTTP/2")


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3), st.sampled_from(DAMAGE)), max_size=6))
def test_a_damaged_request_has_an_answer(damages: list[tuple[int, int, bytes]]) -> None:
    head = b"GET /metrics HTTP/1.1\r\nHost: localhost:9464\r\n\r\n"
    for at, cut, put in damages:
        head = head[:at] + put + head[at + cut :]
    answer = Responder(9464, lambda: TEXT).answer(head)
    assert answer != FAILED
    assert TEXT.encode() not in answer or b"localhost:9464" in head.lower()
