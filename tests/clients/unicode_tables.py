"""Writes clients/cpp/src/unicode_tables.h: characters as the `tokenizers` package sees them; C++ has no such tables.

    python -m tests.clients.unicode_tables

The package is asked for every character, so that a client makes the same of each (tests/clients/prepare.py has hashes).
Orders of marks are those of Python's `unicodedata`.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.clients.characters import BY_STEP, CHARACTERS

TARGET = Path(__file__).parents[2] / "clients" / "cpp" / "src" / "unicode_tables.h"
HANGUL = range(0xAC00, 0xD7A4)
"""Syllables, whose parts are computed."""


def ranges(codes: Iterator[int]) -> list[tuple[int, int]]:
    """Return first and last code point of each run."""
    found: list[list[int]] = []
    for code in codes:
        if found and code == found[-1][1] + 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return [(first, last) for first, last in found]


def changed(step: str) -> dict[int, tuple[int, ...]]:
    """Return what a step of BertNormalizer makes of each character that it changes, as code points."""
    make = BY_STEP[step]
    made = {code: make(f"a{chr(code)}b")[1:-1] for code in CHARACTERS if code not in HANGUL}
    return {code: tuple(map(ord, text)) for code, text in made.items() if text != chr(code)}


def marks(bare: Mapping[int, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    """Return the combining classes of the parts of each character that has some, plus 256 for a part that is kept."""
    found = {}
    for code in CHARACTERS:
        parts = [*map(ord, unicodedata.normalize("NFD", chr(code)))] if code not in HANGUL else []
        classes = [unicodedata.combining(chr(part)) for part in parts]
        if any(classes):
            kept = [256 if one and bare.get(part, (part,)) else 0 for one, part in zip(classes, parts, strict=True)]
            found[code] = tuple(one + more for one, more in zip(classes, kept, strict=True))
    return found


def is_cased(code: int) -> bool:
    """Return whether a sigma behind the character is a final one."""
    return f"{chr(code)}\u03a3".lower()[-1] == "\u03c2"


def is_ignorable(code: int) -> bool:
    """Return whether a character between a letter and a sigma counts as nothing."""
    return not is_cased(code) and f"A{chr(code)}\u03a3".lower()[-1] == "\u03c2"


def small() -> dict[int, tuple[int, ...]]:
    """Return the small letters of each character alone that Python's `str.lower` changes."""
    return {code: tuple(map(ord, chr(code).lower())) for code in CHARACTERS if chr(code).lower() != chr(code)}


def _rows(values: list[str], width: int = 118) -> str:
    lines, line = [], "   "
    for value in values:
        if len(line) + len(value) + 2 > width:
            lines.append(line)
            line = "   "
        line += f" {value},"
    return "\n".join([*lines, line])


def _ranges(name: str, codes: Iterator[int]) -> str:
    values = [f"{{0x{first:x}, 0x{last:x}}}" for first, last in ranges(codes)]
    return f"inline constexpr Range {name}[] = {{\n{_rows(values)}\n}};\n"


def _mapped(name: str, table: Mapping[int, tuple[int, ...]]) -> str:
    """Return a table of code points -> parts of one long list."""
    pool: list[int] = []
    starts: dict[tuple[int, ...], int] = {}
    for parts in table.values():
        if parts not in starts:
            starts[parts] = len(pool)
            pool.extend(parts)
    values = [f"{{0x{code:x}, {starts[parts]}, {len(parts)}}}" for code, parts in sorted(table.items())]
    listed = [f"0x{one:x}" for one in pool]
    return (
        f"inline constexpr std::uint32_t {name}_parts[] = {{\n{_rows(listed)}\n}};\n"
        f"inline constexpr Mapped {name}[] = {{\n{_rows(values)}\n}};\n"
    )


def tables() -> str:
    """Return the contents of the header."""
    cleaned, bare = changed("cleaned"), changed("bare")
    cuts: Callable[[str], str] = BY_STEP["words"]
    words = {code: cuts(f"a{chr(code)}b") for code in CHARACTERS}
    return "\n".join(
        [
            "// Made by `python -m tests.clients.unicode_tables`: do not edit.",
            "//",
            "// Characters as the `tokenizers` package sees them.",
            "",
            "#pragma once",
            "",
            "#include <cstdint>",
            "",
            "namespace gearshift::detail {",
            "",
            "struct Range {",
            "  std::uint32_t first, last;",
            "};",
            "struct Mapped {",
            "  std::uint32_t code;",
            "  std::uint16_t start, count;",
            "};",
            "",
            "// Characters that `clean_text` drops, and those that it makes a blank of.",
            _ranges("dropped", (code for code, parts in cleaned.items() if not parts)),
            _ranges("blanked", (code for code, parts in cleaned.items() if parts == (32,))),
            "// Characters that end a word, and those that are one by themselves.",
            _ranges("spaces", (code for code, text in words.items() if text == "a b")),
            _ranges("punctuation", (code for code, text in words.items() if text == f"a {chr(code)} b")),
            "// Parts without accents, but of Hangul; characters in lower case.",
            _mapped("bare", bare),
            _mapped("lower", changed("lower")),
            "// Combining classes of the parts of characters, plus 256 for a part that is left without accents.",
            _mapped("classes", marks(bare)),
            "// What Python's `str` makes of characters, for a DAN: letters, small letters, those around a sigma.",
            _ranges("letters", (code for code in CHARACTERS if re.match(r"\w", chr(code)))),
            _mapped("small", small()),
            _ranges("cased", filter(is_cased, CHARACTERS)),
            _ranges("ignorable", filter(is_ignorable, CHARACTERS)),
            "}  // namespace gearshift::detail",
            "",
        ]
    )


def main() -> int:
    """Write the header."""
    TARGET.write_text(tables(), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
