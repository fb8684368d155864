"""Standard output and standard error, however the program was started: closed, full, without a reader, not UTF-8.

A result that cannot be written ends the command with 1 and one line, as with other programs; a message that cannot be
written is lost, and changes nothing. A character that the encoding lacks is written escaped,
and so is one that a terminal would obey (`escaping`).
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import TextIO

from gearshift.errors import StorageError
from gearshift.escaping import escaped


def prepare() -> None:
    """Make the streams usable; raise StorageError if standard output is closed, before anything is done."""
    closed = sys.stdout is None
    _occupy_descriptors()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    if closed:
        sys.stdout = _nowhere()
        raise StorageError("standard output: closed; expected a place for the result, such as a file or /dev/null")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def result(*lines: str) -> None:
    """Write lines of a result to standard output at once, each as one line.

    Raises StorageError if that fails, and BrokenPipeError if the reader is gone.
    """
    try:
        print("\n".join(map(escaped, lines)), flush=True)
    except BrokenPipeError:
        _give_up(sys.stdout)
        raise
    except OSError as error:
        _give_up(sys.stdout)
        told = f"standard output: could not be written ({error.strerror or error})"
        raise StorageError(f"{told}; what the command wrote to files is there") from error


def message(text: str) -> None:
    """Write a message to standard error as one line, if that can be written to."""
    _to_stderr(escaped(text) + "\n")


def replace_line(text: str) -> None:
    """Write a line over the last line of a terminal at standard error, where the next one will be written over it."""
    _to_stderr("\r\x1b[K" + escaped(text))


def _to_stderr(text: str) -> None:
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except OSError:
        _give_up(sys.stderr)


def complaint(text: object) -> None:
    """Write why a command ended, on one line."""
    message(f"gearshift: {text}")


def settle() -> None:
    """Write what other libraries left in the streams, so that the interpreter finds nothing to fail on at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # ValueError: closed by somebody
            _give_up(stream)


def _give_up(stream: TextIO) -> None:
    """Lead a stream that failed nowhere: the interpreter flushes it once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8", errors="backslashreplace")


def _occupy_descriptors() -> None:
    """Open what is closed of the descriptors 0 to 2: the next file would get it, and messages of libraries in it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free
