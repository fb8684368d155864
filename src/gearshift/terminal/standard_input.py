"""Texts from standard input, one a line."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from gearshift.errors import InputError
from gearshift.terminal.streams import message

OTHERS = {
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
"""Encoding -> byte order marks; those of UTF-32 start with those of UTF-16."""


def texts() -> Iterator[str]:
    """Give the lines that are not blank, without the blanks around them, each before the next one is read.

    Byte order marks of UTF-8 are dropped. Raises InputError, which names the line, for what is no text.
    """
    stream = sys.stdin
    if stream is None:
        raise InputError("standard input: closed; expected texts, one a line, there or as arguments")
    if stream.isatty():
        message("gearshift: type one text a line, and end with Ctrl-D")
    for number, line in enumerate(_lines(stream), start=1):
        text = line if isinstance(line, str) else _decoded(line, number, stream.encoding)
        yield from (part.strip() for part in text.split("\r") if part.strip())


def _lines(stream: TextIO) -> Iterator[bytes | str]:
    """Give the lines as bytes, so that one that is no text takes no earlier one with it."""
    source: Iterable[bytes | str] = getattr(stream, "buffer", stream)  # a program may have put a StringIO there
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        os.set_blocking(stream.fileno(), True)  # else a pause of the writer would count as the end
    try:
        yield from source
    except OSError as error:
        raise InputError(f"standard input: could not be read ({error.strerror or error})") from error


def _decoded(line: bytes, number: int, encoding: str) -> str:
    place = f"standard input, line {number}"
    for other, marks in OTHERS.items():
        if number == 1 and line.startswith(marks):
            raise InputError(f"{place}: expected UTF-8, found {other}; convert it: iconv -f {other} -t UTF-8")
    if b"\0" in line:
        raise InputError(
            f"{place}: expected text, found a zero byte, as in UTF-16 and in files that are no text; "
            "convert it, such as by iconv -f UTF-16LE -t UTF-8"
        )
    try:
        return line.removeprefix(codecs.BOM_UTF8).decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place}: expected {encoding.upper()}, found byte 0x{line[error.start]:02x} ({error.reason}); convert it, "
            "such as by iconv -f LATIN1 -t UTF-8"
        ) from error
