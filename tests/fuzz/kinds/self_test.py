"""Changes of a self-test: of its archive's bytes, and of the headers and values of its arrays."""

from __future__ import annotations

import io
import random
import zipfile

from tests.fuzz.kinds.graph import NUMBERS, altered_bytes

TYPES = ("<i8", ">i8", "<f4", "<f8", "|O", "<U8", "|V16", "<c16", "|b1", "<M8[s]", "|S9999999", "<i4", "q", "")


def change(content: bytes, source: random.Random) -> bytes:
    """Return the self-test with a change."""
    kind = source.random()
    if kind < 0.3:
        return altered_bytes(content, source)
    if kind < 0.4:
        return content[: source.randrange(len(content))]
    made = io.BytesIO()
    packing = source.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w", packing) as new:
        names = old.namelist()
        chosen = source.choice(names)
        for name in names:
            array = old.read(name)
            if name == chosen:
                array = _array(array, source)
            if name != chosen or source.random() < 0.9:
                new.writestr(name, array)
    return made.getvalue()


def _array(content: bytes, source: random.Random) -> bytes:
    """Return another array file: other bytes, or another header over the same values, or over a great many zeros."""
    kind = source.random()
    if kind < 0.3:
        return altered_bytes(content, source)
    if kind < 0.4:
        return b"\0" * source.choice((0, 1, 4 << 20))
    shape = tuple(source.choice((*NUMBERS, 4, 8, True, "a", 1.5)) for _ in range(source.choice((0, 1, 2, 2, 2, 3, 40))))
    description = {
        "descr": source.choice(TYPES),
        "fortran_order": source.choice((False, False, True, 2)),
        "shape": source.choice((shape, list(shape), "x", None)),
    }
    text = repr(description).encode().ljust(117) + b"\n"
    version = source.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x09"))
    size = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + size + text + content[source.randrange(200) :]
