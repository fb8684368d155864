"""Ports and unix sockets: what is taken, what is left behind, and who may use it."""

from __future__ import annotations

import fcntl
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gearshift.errors import InputError
from gearshift.server import Limits
from gearshift.server.listening import bound_path, bound_port, is_loopback, shown_address
from tests.command_line import PATIENCE_S


def test_a_free_port_of_this_machine_is_bound_and_no_client_is_let_in_yet() -> None:
    with bound_port("localhost", 0) as bound:
        assert is_loopback(bound)
        host, port = bound.getsockname()[:2]
        assert shown_address(bound).endswith(f":{port}")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port), 1)


def test_every_address_is_not_this_machine_alone() -> None:
    with bound_port("0.0.0.0", 0) as bound:
        assert not is_loopback(bound)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "256.0.0.1", "\udcff", "a" * 300, "a..b"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(InputError, match="host: expected a name or an address"), bound_port(host, 0):
        pass


@pytest.mark.parametrize("port", [-1, 65536, True])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with (
        pytest.raises(InputError, match="port: expected a whole number from 0 to 65535"),
        bound_port("localhost", port),
    ):
        pass


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port} cannot be used"), bound_port("127.0.0.1", port):
            pass


def test_a_unix_socket_is_of_its_user_alone_and_gone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for _ in range(2):
        with bound_path(path) as bound:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert shown_address(bound) == f"unix:{path}"
        assert not path.exists()


def test_a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with bound_path(path):
        pass
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(InputError, match="another server listens there"), bound_path(path):
            pass
        assert [each.name for each in tmp_path.iterdir()] == ["socket"]


def test_a_socket_of_a_server_that_does_not_listen_yet_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bound_path(path) as bound:
        for _ in range(2):
            with pytest.raises(InputError, match=r"another server has it\); name another path$"), bound_path(path):
                pass
        bound.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert not list(tmp_path.iterdir())


def test_of_servers_that_start_together_one_gets_the_socket(tmp_path: Path) -> None:
    path, start, done = tmp_path / "socket", threading.Barrier(8), threading.Barrier(8)

    def bind() -> bool:
        start.wait(PATIENCE_S)
        try:
            with bound_path(path) as bound:
                done.wait(PATIENCE_S)
                bound.listen()
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(path))
                return True
        except InputError as error:
            assert "another server has it" in str(error), error
            done.wait(PATIENCE_S)
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: bind(), range(8))) == 1
    assert not list(tmp_path.iterdir())


def test_a_lock_that_was_left_behind_is_taken_and_a_file_of_its_name_stays(tmp_path: Path) -> None:
    path, lock = tmp_path / "socket", tmp_path / "socket.lock"
    lock.touch()
    with bound_path(path):
        pass
    assert not lock.exists()
    lock.write_text("mine")
    with pytest.raises(InputError, match=r"socket\.lock beside it is no lock"), bound_path(path):
        pass
    assert lock.read_text() == "mine"


def test_a_lock_that_its_holder_removed_meanwhile_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, lock, flock = tmp_path / "socket", tmp_path / "socket.lock", fcntl.flock
    removed = iter([True])

    def locks_late(descriptor: int, operation: int) -> None:
        if next(removed, False):
            lock.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", locks_late)
    with bound_path(path):
        assert lock.exists()
        with pytest.raises(InputError, match="another server has it"), bound_path(path):
            pass


def test_a_file_in_the_place_of_a_socket_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path, tmp_path / "no" / "folder", tmp_path / ("x" * 200)):
        with pytest.raises(InputError, match="cannot be used"), bound_path(path):
            pass
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", Limits.__dataclass_fields__)
@pytest.mark.parametrize("value", [0, -1, 10**9, float("nan"), True, "5"])
def test_a_limit_that_is_none_is_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"^{name}: expected a "):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_the_end_leaves_the_socket_of_a_server_that_took_the_place(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bound_path(path):
        path.rename(tmp_path / "moved")  # an inode that is in use is given to no other file
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    assert path.exists()
