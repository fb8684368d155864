"""Lists in a cell of text: as Python, JSON or numpy print them, as pandas writes a column of lists to CSV."""

from __future__ import annotations

import ast
import re

_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_BARE = r"-?\d+(?:\.\d+)?|True|False|true|false|None|null"
_ITEM = rf"(?:[ub]?(?:{_QUOTED})|{_BARE})"
_LIST = re.compile(rf"\s*(?:\[|\()\s*(?:{_ITEM}(?:\s*,\s*|\s+|(?=\]|\))))*\s*(?:\]|\))\s*|set\(\)", re.DOTALL)
"""Pattern of a list: items with commas between them, or just blanks as in numpy's `['a' 'b']`."""

_NAMES = {"true": True, "false": False, "null": None}


def listed_cell(text: str) -> list[object] | None:
    """Return the items of a cell that is a list, else None."""
    shape = re.sub(r"^\s*\{(.*)\}\s*$", r"[\1]", text, flags=re.DOTALL)
    if _LIST.fullmatch(shape) is None:
        return None
    try:
        return [_NAMES.get(item) if item in _NAMES else ast.literal_eval(item) for item in re.findall(_ITEM, shape)]
    except (ValueError, SyntaxError):
        return None


def looks_like_list(text: str) -> bool:
    """Return whether a cell is in square brackets."""
    stripped = text.strip()
    return stripped[:1] == "[" and stripped[-1:] == "]"
