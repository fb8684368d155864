"""Addresses that a server listens at: a TCP port, or a unix socket."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from gearshift.errors import InputError
from gearshift.number_checks import is_whole, shown

if sys.platform != "win32":
    import fcntl

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
    """Bind a unix socket for this user alone, in place of one that nobody has; remove it at the end.

    `PATH.lock` is held meanwhile: a server that still loads its bundle does not listen yet, and would pass for one that
    was killed. Raises InputError for a path that cannot be used.
    """
    with contextlib.ExitStack() as ending:
        bound = ending.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)))
        try:
            ending.enter_context(_held(path.with_name(f"{path.name}.lock")))
            _bind(bound, path)
        except OSError as error:
            raise InputError(f"socket: {path} cannot be used ({error.strerror or error}); name another path") from error
        own = path.lstat().st_ino
        try:
            yield bound
        finally:
            with contextlib.suppress(OSError):
                if path.lstat().st_ino == own:  # another server may have taken its place
                    path.unlink()


def _bind(bound: socket.socket, path: Path) -> None:
    """Bind a unix socket that only this user may connect to; raise OSError."""
    mask = os.umask(0o177)
    try:
        _remove_left(path)
        bound.bind(str(path))
    finally:
        os.umask(mask)


@contextlib.contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Hold a lock file, and remove it at the end; raise OSError if another process holds it.

    The lock ends with its process, however that ends.
    """
    descriptor = _locked(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)  # while it is held: whoever opened it before sees that it is gone
        os.close(descriptor)


def _locked(lock: Path) -> int:
    """Return the descriptor of a lock file, made where there is none, that this process holds now; raise OSError."""
    if sys.platform == "win32":
        raise OSError("this system has no unix sockets")
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_size:
                raise OSError(errno.EEXIST, f"{lock.name} beside it is no lock")
            if _is_at(lock, descriptor):
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise OSError(errno.EADDRINUSE, "another server has it") from error
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last holder removed it meanwhile


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether an open file still lies at a path."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


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
