"""A disk that is full while one file is written."""

from __future__ import annotations

import builtins
import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest

FULL = Path("/dev/full")

needs_full_device = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, which only Linux has")


def fill_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let writes to files with `name` in their own name end on the device that is always full."""
    really_open = io.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        writes = any(letter in mode for letter in "wax+")
        if writes and isinstance(file, str | os.PathLike) and name in Path(os.fsdecode(file)).name:
            file = FULL
        return really_open(file, mode, *arguments, **options)

    really_open_descriptor = os.open

    def opened_descriptor(file: Any, flags: int, *arguments: Any, **options: Any) -> int:
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
        if writes and isinstance(file, str | os.PathLike) and name in Path(os.fsdecode(file)).name:
            file, flags = FULL, os.O_WRONLY
        return really_open_descriptor(file, flags, *arguments, **options)

    really_send = os.sendfile

    def sent(out: int, *arguments: Any) -> int:
        if os.fstat(out).st_rdev == FULL.stat().st_rdev:  # this device has no sendfile; a disk has, and says this
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really_send(out, *arguments)

    monkeypatch.setattr(os, "sendfile", sent)
    monkeypatch.setattr(os, "open", opened_descriptor)
    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr(builtins, "open", opened)
