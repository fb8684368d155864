"""Bodies, headers and whole requests at random, the same each time: the server answers or refuses, and goes on."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearshift.runtime import Engine
from gearshift.server import Limits, Service
from gearshift.server.messages import Reply
from tests.server.asking import TEXT, call_of, received, request_bytes, response, running

PATHS = ("/v1/classify", "/v2/models/tiny/infer")
NAMES = ("text", "texts", "words", "model", "inputs", "outputs", "name", "shape", "datatype", "data", "id", "input")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(("BYTES", "text")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=12,
)
HEADERS = ("Content-Length", "Transfer-Encoding", "Content-Type", "Host", "Gearshift-Deadline-Ms", "Connection",
           "Expect", "Upgrade", "Authorization", "Content-Encoding", "X")  # fmt: skip
PARTS = (b"", b"0", b"-1", b"1e3", b"chunked", b"close", b"100-continue", b"websocket", b"gzip", b"nan", b"\x00",
         b"a" * 9000, b"\xff\xfe", b" ", b",", b"text/html", b"18446744073709551616")  # fmt: skip
CASES = 400


def answered(service: Service, path: str, body: bytes, deadline: str | None = None) -> Reply:
    more = {} if deadline is None else {"Gearshift_Deadline_Ms": deadline}
    return asyncio.run(service.reply(call_of(path, body, **more)))


@settings(max_examples=150)
@given(path=st.sampled_from(PATHS), fields=VALUES, deadline=st.none() | st.text(max_size=8))
def test_any_value_is_answered_or_refused_in_one_line(
    engine: Engine, path: str, fields: Any, deadline: str | None
) -> None:
    reply = answered(Service(engine), path, json.dumps(fields).encode(), deadline)
    assert reply.status in (200, 400, 504), reply
    json.loads(reply.body)


@settings(max_examples=100)
@given(path=st.sampled_from(PATHS), body=st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_line(engine: Engine, path: str, body: bytes) -> None:
    reply = answered(Service(engine), path, body)
    assert reply.status == 400 and "\n" not in json.loads(reply.body)["error"].__str__()


def changed(source: random.Random) -> bytes:
    """A request with one to four changes: bytes, headers, lengths, its end."""
    body = json.dumps({"text": TEXT}).encode()
    headers = {source.choice(HEADERS): source.choice(PARTS).decode("latin-1") for _ in range(source.randrange(3))}
    sent = bytearray(request_bytes(source.choice((*PATHS, "/", "*", "//", "/%ff", "http://x/")), body, **headers))
    for _ in range(source.randrange(4)):
        place = source.randrange(len(sent) + 1)
        kind = source.random()
        if kind < 0.4 and place < len(sent):
            sent[place] = source.randrange(256)
        elif kind < 0.6:
            sent[place:place] = source.choice(PARTS)
        elif kind < 0.8:
            del sent[place : place + source.randrange(1, 40)]
        else:
            del sent[place:]
    return bytes(sent)


def test_no_request_ends_the_server_or_leaves_a_traceback(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    source = random.Random(0)
    limits = Limits(patience_s=0.05, idle_s=0.05, connections=16)
    statuses: dict[bytes, int] = {}
    with caplog.at_level(logging.WARNING), running(Service(engine, limits=limits)) as served:
        for _ in range(CASES):
            with served.client() as client:
                client.sendall(changed(source))
                if source.random() < 0.3:
                    client.shutdown(socket.SHUT_WR)
                if source.random() < 0.8:
                    first = received(client)[9:12]
                    statuses[first] = statuses.get(first, 0) + 1
        with served.client() as client:
            client.sendall(request_bytes("/v1/classify", json.dumps({"text": TEXT}).encode()))
            status, _, body = response(client)
            assert status == 200 and json.loads(body)["label"] == "lights_off"
    assert [record.getMessage() for record in caplog.records] == []
    assert b"500" not in statuses
    assert {b"200", b"400", b"404", b"408"} <= statuses.keys(), statuses
