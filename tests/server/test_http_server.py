"""The server before clients that wait, drip, break off, send too much, or are too many."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from gearshift.errors import InputError
from gearshift.runtime import Engine
from gearshift.server import Limits, Service
from gearshift.server.http_server import HttpServer
from gearshift.server.listening import bound_port
from tests.command_line import PATIENCE_S
from tests.server.asking import TEXT, Running, received, request_bytes, response, running

BODY = json.dumps({"text": TEXT}).encode()
ASK = request_bytes("/v1/classify", BODY)
FOREVER_S = 10_000.0
"""Patience of a server that outlasts every test: what passes did not pass because a client was given up."""
SHORT_S = 0.2


@pytest.fixture
def served(engine: Engine, caplog: pytest.LogCaptureFixture) -> Iterator[Running]:
    limits = Limits(patience_s=FOREVER_S, idle_s=FOREVER_S, connections=4, body_kb=4)
    with caplog.at_level(logging.WARNING), running(Service(engine, limits=limits)) as served:
        yield served
    assert caplog.records == []


def answers(served: Running) -> None:
    """Check that a new client is answered."""
    with served.client() as client:
        client.sendall(ASK)
        status, headers, body = response(client)
        assert status == 200 and json.loads(body)["label"] == "lights_off"
        assert headers["server"] == "gearshift" and headers["gearshift-subnet"]


def test_a_connection_takes_one_request_after_another(served: Running) -> None:
    with served.client() as client:
        for _ in range(3):
            client.sendall(ASK)
            assert response(client)[0] == 200
        client.sendall(ASK * 3)  # all at once
        assert [response(client)[0] for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("sent", [b"", b"POST /v1/cl", ASK[:60], ASK[:-1]])
def test_a_client_that_waits_keeps_no_other_waiting(served: Running, sent: bytes) -> None:
    with served.client() as idle:
        idle.sendall(sent)
        answers(served)
        if len(sent) == len(ASK) - 1:
            idle.sendall(ASK[-1:])
            assert response(idle)[0] == 200


@pytest.mark.parametrize("sent", [b"", b"POST /v1/cl", ASK[:60], ASK[:-1], ASK])
def test_a_client_that_breaks_off_changes_nothing(served: Running, sent: bytes) -> None:
    for _ in range(3):
        with served.client() as client:
            client.sendall(sent)
    answers(served)


def test_a_body_that_comes_byte_by_byte_is_answered(served: Running) -> None:
    with served.client() as client:
        for number in range(len(ASK)):
            client.sendall(ASK[number : number + 1])
        assert response(client)[0] == 200


@pytest.mark.parametrize(
    "sent",
    [b"GARBAGE\r\n\r\n", ASK.replace(b"Host: 127.0.0.1\r\n", b""), ASK.replace(b"Host", b"Content-Length: 3\r\nHost")],
)
def test_what_is_no_request_is_refused_in_one_line_of_our_own(served: Running, sent: bytes) -> None:
    with served.client() as client:
        client.sendall(sent)
        status, headers, body = response(client)
        assert (status, headers["server"], headers["content-type"]) == (400, "gearshift", "application/json")
        error = json.loads(body)["error"]
        assert error["type"] == "InputError" and "could not be read as HTTP" in error["message"]
        assert received(client) == b""


@pytest.mark.parametrize("told", [5000, 10**12, 10**30])
def test_a_body_that_is_announced_too_large_is_not_read(served: Running, told: int) -> None:
    with served.client() as client:
        client.sendall(request_bytes("/v1/classify", b"", **{"Content-Length": str(told)}))
        assert b"\r\n\r\n" in received(client)  # an answer, and the end of the connection
    answers(served)


def test_a_body_in_chunks_ends_at_the_limit(served: Running) -> None:
    head = request_bytes("/v1/classify", b"", **{"Content-Length": "X"}).replace(
        b"Content-Length: X", b"Transfer-Encoding: chunked"
    )
    with served.client() as client:
        client.sendall(head + b"".join(b"400\r\n" + b" " * 1024 + b"\r\n" for _ in range(5)))
        status, headers, body = response(client)
        assert (status, headers["connection"]) == (413, "close") and b"at most 4096 bytes" in body
    with served.client() as client:
        client.sendall(head + f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n")
        assert response(client)[0] == 200


def test_one_client_too_many_ends_the_one_that_has_been_idle_for_longest(served: Running) -> None:
    clients = [served.client() for _ in range(4)]
    for client in clients:
        client.sendall(ASK)
        assert response(client)[0] == 200
    answers(served)
    assert received(clients[0]) == b""
    for client in clients[2:]:  # one had to go for the first, one for the next, if it was not gone by then
        client.sendall(ASK)
        assert response(client)[0] == 200
    for client in clients:
        client.close()


def test_clients_that_are_all_at_work_are_left_and_one_more_is_refused(served: Running) -> None:
    clients = [served.client() for _ in range(4)]
    for client in clients:
        client.sendall(ASK[:-1])
    while served.server.busy < 4:
        time.sleep(0.001)
    with served.client() as more:
        assert received(more).startswith(b"HTTP/1.1 503")
    for client in clients:
        client.sendall(ASK[-1:])
        assert response(client)[0] == 200
        client.close()


# Patience


@pytest.fixture
def hasty(engine: Engine) -> Iterator[Running]:
    limits = Limits(patience_s=SHORT_S, idle_s=SHORT_S)
    with running(Service(engine, limits=limits)) as served:
        yield served


@pytest.mark.parametrize("sent", [b"", b"POST /v1/cl", ASK[:60]])
def test_a_client_that_does_not_ask_is_given_up(hasty: Running, sent: bytes) -> None:
    with hasty.client() as client:
        client.sendall(sent)
        assert received(client) == b""


def test_a_body_that_does_not_come_is_a_408(hasty: Running) -> None:
    with hasty.client() as client:
        client.sendall(ASK[:-1])
        assert received(client).startswith(b"HTTP/1.1 408")


def test_a_client_that_does_not_take_its_answer_is_given_up(engine: Engine) -> None:
    limits = Limits(patience_s=SHORT_S, texts=4096, connections=1)
    body = json.dumps({"texts": ["off"] * 4096}).encode()  # some 6 MB of scores
    with running(Service(engine, limits=limits)) as served, served.client() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(request_bytes("/v1/classify", body))
        assert client.recv(1) == b"H"
        while True:  # there is room for one client alone: one more is let in when this one was given up
            with served.client() as other:
                other.sendall(ASK)
                if received_status(other) == 200:
                    break
            time.sleep(0.02)


def received_status(client: socket.socket) -> int:
    return int(client.recv(12).split()[1] or 0)


# The end


def test_requests_that_run_are_finished_at_the_end_and_no_new_one_is_taken(engine: Engine) -> None:
    limits = Limits(texts=4096)
    body = json.dumps({"texts": [f"{TEXT} {number}" for number in range(1500)]}).encode()
    got: list[tuple[int, dict[str, str], bytes]] = []
    with running(Service(engine, limits=limits)) as served:
        idle = served.client()
        client = served.client()
        client.sendall(request_bytes("/v1/classify", body))
        reader = threading.Thread(target=lambda: got.append(response(client)))
        reader.start()
        while not served.server.busy:
            time.sleep(0.001)
    reader.join(PATIENCE_S)
    status, headers, content = got[0]
    assert (status, headers["connection"]) == (200, "close")
    assert len(json.loads(content)["answers"]) == 1500
    assert received(idle) == b""
    with pytest.raises(OSError):
        served.client()
    for one in (idle, client):
        one.close()


def test_a_body_that_is_on_its_way_at_the_end_is_read_and_answered(engine: Engine) -> None:
    service = Service(engine, limits=Limits(patience_s=FOREVER_S, grace_s=4.0))

    def send_the_rest(client: socket.socket) -> None:
        while service.ready:
            time.sleep(0.001)
        time.sleep(0.1)
        client.sendall(ASK[-5:])

    with running(service) as served:
        client = served.client()
        client.sendall(ASK[:-5])
        while not served.server.busy:
            time.sleep(0.001)
        sender = threading.Thread(target=send_the_rest, args=(client,))
        sender.start()
    sender.join(PATIENCE_S)
    with client:
        status, headers, body = response(client)
    assert (status, headers["connection"]) == (200, "close")
    assert json.loads(body)["label"] == "lights_off"


# The start


def test_a_port_that_another_server_took_in_the_meantime_is_told(engine: Engine) -> None:
    async def start(bound: socket.socket) -> None:
        await HttpServer(Service(engine)).start(bound)

    with bound_port("127.0.0.1", 0) as bound, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(bound.getsockname())  # two may have a port until one of them listens
        other.listen()
        with pytest.raises(InputError, match=r"port: another program took it .*; name another port"):
            asyncio.run(start(bound))
