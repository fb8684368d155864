"""Atomic writing of directories and files, and their hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gearshift.errors import StorageError, is_time_limit


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_replaceable(target: Path, *, marker: str, source: Path | None = None) -> None:
    """Raise StorageError if `replacing_directory` would refuse `target` because of its present content.

    For work that takes long before it writes: a refusal at its end would come too late.
    `source`: directory that the work reads from and must not overwrite.
    """
    if source is not None and target.resolve() == source.resolve():
        raise StorageError(f"{target}: is the input, and would be overwritten; name another output")
    try:
        if target.exists() and not target.is_dir():
            raise FileExistsError(errno.EEXIST, "a file is in the way", str(target))
        if target.is_dir() and any(target.iterdir()) and not (target / marker).exists():
            raise FileExistsError(errno.EEXIST, f"the directory is not empty and has no {marker}", str(target))
    except OSError as error:
        raise _storage_error(target, error) from error


@contextlib.contextmanager
def replacing_directory(target: Path, *, marker: str) -> Iterator[Path]:
    """Give an empty directory to fill. On leaving it replaces `target`; on an error `target` stays.

    The new directory lies beside the old one, is flushed to disk, and then takes its name. An interruption at any
    moment leaves either the old directory or the new one, complete.
    A full disk, a missing permission or a file in the way raises StorageError; every other error passes through
    unchanged.
    `marker`: file that every such directory has. A non-empty directory without it belongs to somebody else and is not
    replaced (StorageError).
    """
    require_replaceable(target, marker=marker)
    target = target.resolve()  # a symbolic link stays one: what it points to is replaced
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _recover(target)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
    except OSError as error:
        raise _storage_error(target, error) from error
    try:
        yield fresh
    except OSError as error:
        if not _concerns_writing(error, fresh):
            raise
        raise _storage_error(target, error) from error
    else:
        try:
            flush(fresh)
            fresh.chmod(0o755)  # mkdtemp makes it private
            _swap(fresh, target)
        except OSError as error:
            raise _storage_error(target, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def replace_file(target: Path, content: bytes) -> None:
    """Write a file atomically. If that fails, raise StorageError and keep the old file."""
    with replacing_file(target) as file:
        file.write(content)


@contextlib.contextmanager
def replacing_file(target: Path) -> Iterator[BinaryIO]:
    """Give a file to write that replaces `target` on leaving; for content too large to hold in memory twice.

    On any error the old file stays. Raises StorageError if the file cannot be written.
    A symbolic link stays one: what it points to is replaced. Devices and pipes, such as `/dev/null` and `/dev/stdout`,
    are written to: a user who may replace them would take them from everybody else.
    """
    if is_device_or_pipe(target):
        try:
            with target.open("wb") as file:
                yield file
        except OSError as error:
            raise _storage_error(target, error) from error
        return
    target = Path(os.path.realpath(target))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise _storage_error(target, error) from error
    finally:
        with contextlib.suppress(OSError):  # the error that matters has been raised already
            temporary.unlink(missing_ok=True)


def is_device_or_pipe(path: Path) -> bool:
    """Return whether there is something at a path that is neither a file nor a directory."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _concerns_writing(error: OSError, fresh: Path) -> bool:
    """Return whether an error of the caller's block came from filling the new directory."""
    if error.filename is not None:
        return Path(os.fsdecode(error.filename)).is_relative_to(fresh)
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}


def _storage_error(target: Path, error: OSError) -> StorageError | OSError:
    if is_time_limit(error):
        return error
    return StorageError(
        f"{target}: could not be written ({error.strerror or error}); nothing was changed there; "
        "free some space or name another directory"
    )


def _backup(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def _swap(fresh: Path, target: Path) -> None:
    """Replace `target` by two renames; `_recover` repairs an interruption between them."""
    backup = _backup(target)
    if target.exists():
        target.rename(backup)
    try:
        fresh.rename(target)
    except OSError:
        if backup.exists():
            backup.rename(target)
        raise
    shutil.rmtree(backup, ignore_errors=True)


def _recover(target: Path) -> None:
    """Put the old directory back if an earlier run was stopped between the two renames."""
    backup = _backup(target)
    if not backup.exists():
        return
    if target.exists():
        shutil.rmtree(backup, ignore_errors=True)
    else:
        backup.rename(target)


def flush(directory: Path) -> None:
    """Wait until every file of a directory is on the disk; raises OSError."""
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
