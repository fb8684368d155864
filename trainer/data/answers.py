"""Right answers to a question, as records of SQuAD and of its relatives state them.

A question without an answer (SQuAD 2.0) has none: an empty list, or `is_impossible`, or texts that are all empty.
Its `plausible_answers` are wrong ones, and are not read.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass

from gearshift.errors import DataError

IMPOSSIBLE = "is_impossible"
"""Column that says whether a question has no answer."""

_SHOWN = 40
"""Number of characters of a value that a message shows."""

_FORM = '{"text": [...], "answer_start": [...]} or [{"text": ..., "answer_start": ...}]'


@dataclass(frozen=True, slots=True)
class Span:
    """A right answer: a part of the second text."""

    start: int
    text: str


def read_answers(where: str, column: str, record: Mapping[str, object], context: str) -> tuple[Span, ...]:
    """Read the answers of a question from its record, () if it has none; raises DataError.

    They are `[{text, answer_start}, ...]` as in SQuAD, or `{text: [...], answer_start: [...]}` as in `datasets`; a cell
    of TSV or CSV holds either as JSON or as Python writes it.
    """
    impossible = _impossible(where, record.get(IMPOSSIBLE))
    value = record.get(column)
    if value is None and impossible:
        return ()
    spans = tuple(_span(where, column, *one, context) for one in _pairs(where, column, value) if _is_answer(one[0]))
    if spans and impossible:
        raise DataError(f"{where}: {IMPOSSIBLE!r} is true, but {column!r} has {spans[0].text!r}; correct one of them")
    if not spans and impossible is False:
        raise DataError(f"{where}: {IMPOSSIBLE!r} is false, but {column!r} is empty; correct one of them")
    return spans


def _impossible(where: str, value: object) -> bool | None:
    """Read `is_impossible`; None if it is missing."""
    known = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "": None, "nan": None}
    said = "" if value is None else str(value).strip().lower()
    if said not in known:
        raise DataError(f"{where}: expected true or false in {IMPOSSIBLE!r}, got {_shown(value)}")
    return known[said]


def _is_answer(text: object) -> bool:
    return not isinstance(text, str) or bool(text.strip())


def _pairs(where: str, column: str, value: object) -> list[tuple[object, object]]:
    """Return (text, start) of each answer."""
    if isinstance(value, str):
        value = _parsed(where, column, value)
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        if isinstance(texts, str):
            texts, starts = [texts], [starts]
        if not (isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts)):
            raise DataError(f"{where}: expected as many of 'text' as of 'answer_start' in {column!r}")
        return list(zip(texts, starts, strict=True))
    if not isinstance(value, list):
        raise DataError(f"{where}: expected {_FORM} in {column!r}, got {type(value).__name__}")
    for one in value:
        if not isinstance(one, Mapping):
            raise DataError(f"{where}: expected 'text' and a whole 'answer_start' for each of {column!r}")
    return [(one.get("text"), one.get("answer_start")) for one in value]


def _parsed(where: str, column: str, text: str) -> object:
    """Read a cell that holds answers as JSON or as a Python literal."""
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, Mapping | list):
            return found
    raise DataError(f"{where}: expected {_FORM} in {column!r}, got the text {_shown(text)}; an answer needs its place")


def _span(where: str, column: str, text: object, start: object, context: str) -> Span:
    if isinstance(start, float) and start.is_integer():  # pandas turns a column with gaps into floats
        start = int(start)
    if not isinstance(text, str) or type(start) is not int:
        raise DataError(f"{where}: expected 'text' and a whole 'answer_start' for each of {column!r}")
    if start < 0 or context[start : start + len(text)] != text:
        found = context[max(start, 0) : max(start, 0) + len(text)]
        raise DataError(
            f"{where}: answer {_shown(text)} is not at {start} of its context, {_shown(found)} is; "
            f"correct answer_start{_advice(text, start, context)}"
        )
    return Span(start + len(text) - len(text.lstrip()), text.strip())


def _advice(text: str, start: int, context: str) -> str:
    """Return where an answer is that is not at its offset."""
    for unit, encoding, width in (("bytes of UTF-8", "utf-8", 1), ("units of UTF-16", "utf-16-le", 2)):
        before = context.encode(encoding, "surrogatepass")[: max(start, 0) * width].decode(encoding, "ignore")
        if start > 0 and context.startswith(text, len(before)):
            return f": it counts {unit}, and is {len(before)} in characters"
    places = context.count(text)
    if places == 1:
        return f" to {context.index(text)}"
    return f": the context has it {places} times" if places else ": the context does not have it"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]}...{text[-1]}"
