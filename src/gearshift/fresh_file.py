"""Files that take the place of others once they are whole, written under names that nobody can foresee.

Bottom layer, beside `errors`: the standard library alone. In a directory that others can write to, a name that can be
foreseen may be a link already, to a file that would be overwritten.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".new"

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)

_SHOWN = 40
"""Characters of the target's name in that of the new file, which says whose it is and stays short enough."""


@contextlib.contextmanager
def fresh_file(target: Path) -> Iterator[BinaryIO]:
    """Give a new file to write; on leaving it is flushed to disk and takes the name of `target`. Raises OSError.

    What had the name before is replaced, also if it is a link; on any error it stays, and nothing is left of the new
    file.
    """
    fresh = target.with_name(f".{target.name[:_SHOWN]}.{secrets.token_hex(8)}{SUFFIX}")
    descriptor = os.open(fresh, _FLAGS, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)
    finally:
        with contextlib.suppress(OSError):  # the error that matters has been raised already
            fresh.unlink(missing_ok=True)
