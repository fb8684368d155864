"""`gearshift serve` as a program: it says where it is, answers, and finishes its requests when it is told to end."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearshift.server.listening import bound_path
from tests.command_line import PATIENCE_S, Command

TEXT = "turn the lights off"
TOKEN = "0123456789abcdef"
JSON = {"Content-Type": "application/json"}


@contextlib.contextmanager
def serving(bundle: Path, profile: Path, *more: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    call = [sys.executable, "-m", "gearshift", "serve", bundle, "--threads", 1, "--profile", profile, *more]
    with subprocess.Popen(
        [str(part) for part in call],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def test_it_answers_on_a_port_until_ctrl_c(tiny_bundle: Path, profile: Path) -> None:
    with serving(tiny_bundle, profile, "--port", 0, "--json", "--subnet", "w050-d050") as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert (told["model"], told["task"]) == ("tiny", "classification")
        address = told["address"].removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(address, timeout=PATIENCE_S)) as client:
            client.request("POST", told["paths"][0], json.dumps({"text": TEXT}), JSON)
            answer = json.loads(client.getresponse().read())
            assert (answer["label"], answer["subnet"]) == ("lights_off", "w050-d050")
        process.send_signal(signal.SIGINT)
        assert ended(process) == (0, "", "")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self.host)


def test_it_tells_systemd_and_finishes_on_sigterm_what_was_asked_at_a_unix_socket(
    tiny_bundle: Path, profile: Path, tmp_path: Path
) -> None:
    path, notified = tmp_path / "gearshift.socket", tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(notified))
        systemd.settimeout(PATIENCE_S)
        more = ("--socket", path, "--texts", 4096)
        with serving(tiny_bundle, profile, *more, NOTIFY_SOCKET=str(notified)) as process:
            assert systemd.recv(64) == b"READY=1"
            with contextlib.closing(UnixConnection(str(path))) as client:
                client.request("POST", "/v1/classify", json.dumps({"texts": [TEXT] * 4000}), JSON)
                asked_before_others(path)
                process.send_signal(signal.SIGTERM)
                assert systemd.recv(64) == b"STOPPING=1"
                reply = client.getresponse()
                assert reply.status == 200 and len(json.loads(reply.read())["answers"]) == 4000
            code, out, err = ended(process)
    assert (code, err) == (0, "")
    assert out == f"tiny (classification) at unix:{path}: /v1/classify, /v2/models/tiny/infer\n"
    assert not path.exists()


def test_a_second_signal_ends_it_at_once_without_a_word(tiny_bundle: Path, profile: Path, tmp_path: Path) -> None:
    path, notified = tmp_path / "gearshift.socket", tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(notified))
        systemd.settimeout(PATIENCE_S)
        more = ("--socket", path, "--texts", 65536, "--json")
        for first, second in ((signal.SIGINT, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)):
            with serving(tiny_bundle, profile, *more, NOTIFY_SOCKET=str(notified)) as process:
                assert systemd.recv(64) == b"READY=1"
                with contextlib.closing(UnixConnection(str(path))) as client:
                    client.request("POST", "/v1/classify", json.dumps({"texts": ["lights off"] * 60000}), JSON)
                    asked_before_others(path)
                    process.send_signal(first)
                    assert systemd.recv(64) == b"STOPPING=1"
                    process.send_signal(second)
                    code, _, err = ended(process)
                    with pytest.raises(ConnectionError):
                        client.getresponse()
            assert (code, err) == (-second, "")


def test_a_second_server_at_a_unix_socket_is_refused_while_the_first_one_loads(
    command: Command, tiny_bundle: Path, profile: Path, tmp_path: Path
) -> None:
    path = tmp_path / "gearshift.socket"
    with bound_path(path):
        told = command("serve", tiny_bundle, "--profile", profile, "--threads", 1, "--socket", path).error
        assert told == f"socket: {path} cannot be used (another server has it); name another path"
        assert path.exists()


def asked_before_others(path: Path) -> None:
    """Wait until the server has answered a client that came later: by then it has begun with those before."""
    for _ in range(3):
        with contextlib.closing(UnixConnection(str(path))) as client:
            client.request("GET", "/health", headers={"Host": "localhost"})
            assert client.getresponse().status == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0", "--port", "0"], "host: expected an address of this machine alone"),
        (["--port", "99999"], "port: expected a whole number from 0 to 65535, got 99999"),
        (["--token-file", "/nowhere"], "/nowhere: the token could not be read"),
        (["--texts", "0"], "texts: expected a whole number from 1 to 65536, got 0"),
        (["--patience-s", "0"], "patience_s: expected a number of seconds"),
        (["--socket", "/no/such/folder/x"], "socket: /no/such/folder/x cannot be used"),
        (["--port", "0", "--subnet", "w999"], "w999"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    command: Command,
    tiny_bundle: Path,
    profile: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.delenv("GEARSHIFT_TOKEN", raising=False)
    assert words in command("serve", tiny_bundle, "--profile", profile, "--threads", 1, *arguments).error


def test_with_a_token_other_machines_may_ask(tiny_bundle: Path, profile: Path) -> None:
    with serving(tiny_bundle, profile, "--host", "0.0.0.0", "--port", 0, "--json", GEARSHIFT_TOKEN=TOKEN) as process:
        assert process.stdout is not None
        port = int(json.loads(process.stdout.readline())["address"].rpartition(":")[2])
        statuses = []
        for more in ({}, {"Authorization": f"Bearer {TOKEN}"}):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as client:
                client.request("POST", "/v1/classify", json.dumps({"text": TEXT}), {**JSON, **more})
                statuses.append(client.getresponse().status)
        assert statuses == [401, 200]
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, "", "")
