"""Addresses that a server listens at: a TCP port, or a unix socket."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from gearshift.errors import InputError
from gearshift.number_checks import is_whole, shown

HOST, PORT = "127.0.0.1", 8090


@contextlib.contextmanager
def bound_port(host: str, port: int) -> Iterator[socket.socket]:
    """Bind a TCP port, 0 for any free one, without listening yet: clients are refused until there is an engine.

    Raises InputError for a host that is none, or a port that is taken.
    """
    if not is_whole(port, 0, 65535):
        raise InputError(f"port: expected a whole number from 0 to 65535, got {shown(port)}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise InputError(f"host: expected a name or an address of this machine, got {shown(host)} ({error})") from error
    with contextlib.closing(socket.socket(family, kind, protocol)) as bound:
        if os.name == "posix":  # elsewhere it would let two programs have one port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError as error:
            raise InputError(
                f"port: {host}:{port} cannot be used ({error.strerror}); name another port, or 0 for any"
            ) from error
        yield bound


@contextlib.contextmanager
def bound_path(path: Path) -> Iterator[socket.socket]:
    """Bind a unix socket for this user alone, in place of one that nobody listens at; remove it at the end.

    Raises InputError for a path that cannot be used.
    """
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as bound:
        mask = os.umask(0o177)
        try:
            _remove_left(path)
            bound.bind(str(path))
        except OSError as error:
            raise InputError(f"socket: {path} cannot be used ({error.strerror or error}); name another path") from error
        finally:
            os.umask(mask)
        own = path.lstat().st_ino
        try:
            yield bound
        finally:
            with contextlib.suppress(OSError):
                if path.lstat().st_ino == own:  # another server may have taken its place
                    path.unlink()


def _remove_left(path: Path) -> None:
    """Remove a socket that a server left behind which was killed; raise OSError if one listens there."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "a file that is no socket is there")
    except FileNotFoundError:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as other:
        other.settimeout(1.0)
        try:
            other.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "another server listens there")


def is_loopback(bound: socket.socket) -> bool:
    """Return whether only programs of this machine reach a bound TCP port."""
    return ipaddress.ip_address(str(bound.getsockname()[0]).partition("%")[0]).is_loopback


def shown_address(bound: socket.socket) -> str:
    """Return the address of a bound socket as clients name it."""
    if bound.family == socket.AF_UNIX:
        return f"unix:{bound.getsockname()}"
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if bound.family == socket.AF_INET6 else f"http://{host}:{port}"
