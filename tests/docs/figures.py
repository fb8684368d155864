"""Compare the figures of a page with the result files that it links.

A figure is a number with a decimal point, a thousands separator, an exponent or a unit, or any number in a cell of a
table behind the first column. Code, links, headings and the headers of tables have none. Each figure has to be found,
rounded as it is printed, in a result file that its paragraph, list item or row links; a table without links takes those
of the paragraph before it. A comment on the line before the paragraph or table says what cannot be read off the links:

    <!-- figures: from a.md, b.md[text]; by row; set 9.1, 64; quoted 84.2; tested .79; 2.0 = 74.1 - 72.1 -->

from: result files, or any file by its path in the repository; with [text], its lines that contain it, also
where a link names it; a row of a table that links files takes these alone
by row, by cell: all figures of a table's row, or cell, stand on one line of one file
set: chosen and not measured; quoted: what others published; tested: recomputed by a test of its own
X = sum: computed from figures of the files, each as exact as it is printed there, and from what is set
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.docs.numbers import Number, cleaned, numbers, same
from tests.docs.pages import ROOT, Page

RESULTS = ROOT / "benchmarks" / "results"
CONSTANTS = (1, 100, 1000)
"""Numbers that a sum may use beside figures of the files: for shares and units."""


@dataclass(frozen=True)
class Sum:
    """A figure that is computed from others."""

    figure: Number
    expression: str


@dataclass
class Annotation:
    """The comment before a block."""

    sources: list[str] = field(default_factory=list)
    given: list[Number] = field(default_factory=list)
    sums: list[Sum] = field(default_factory=list)
    by: str = ""


@dataclass
class Block:
    """A paragraph, a list item or a table, with the line of the page that it starts on."""

    line: int
    text: str
    annotation: Annotation

    @property
    def is_table(self) -> bool:
        return self.text.startswith("|")


@dataclass(frozen=True)
class Group:
    """Figures that are looked for in the same sources; with `together` on one line of them."""

    line: int
    figures: list[Number]
    sources: list[str]
    annotation: Annotation
    together: bool


def blocks(page: Page) -> Iterator[Block]:
    """Paragraphs, list items and tables of a page, with the comments that belong to them."""
    annotation, line = Annotation(), 1
    for part in re.split(r"\n(?=\n)|\n(?=[*-] |<!--)|(?<=-->)\n", page.prose):
        text = part.strip("\n")
        start = line + len(part) - len(part.lstrip("\n"))
        line += part.count("\n") + 1
        comment = re.fullmatch(r"<!-- figures: (.*?) -->", text, re.S)
        if comment:
            annotation = read_annotation(comment[1])
        elif text and not text.startswith("#"):
            yield Block(start, text, annotation)
            annotation = Annotation()


def read_annotation(comment: str) -> Annotation:
    """Read a comment. Raises ValueError for a clause that is none of those it may have."""
    annotation = Annotation()
    for clause in (part.strip() for part in comment.split(";")):
        kind, _, rest = clause.partition(" ")
        if " = " in clause:
            printed, _, expression = clause.partition(" = ")
            annotation.sums.append(Sum(numbers(printed)[0], expression))
        elif kind == "from":
            annotation.sources += rest.split(", ")
        elif kind == "by" and rest in ("row", "cell"):
            annotation.by = rest
        elif kind in ("set", "quoted", "tested"):
            annotation.given += [number for text in rest.split(", ") for number in numbers(text)]
        else:
            raise ValueError(f"expected from, by row, by cell, set, quoted, tested or a sum, found {clause!r}")
    return annotation


def linked(text: str) -> list[str]:
    """Names of the result files that a text links."""
    return re.findall(r"\]\([^)]*?benchmarks/results/([^)#]+\.(?:md|json))(?:#[^)]*)?\)", text)


def groups(page: Page) -> Iterator[Group]:
    """All figures of a page, with where they are to be found."""
    before: list[str] = []
    for block in blocks(page):
        links = linked(block.text)
        if block.is_table:
            yield from _table_groups(block, before)
        else:
            figures = numbers(cleaned(block.text), only_figures=True)
            yield Group(block.line, figures, _sources(links, block.annotation), block.annotation, together=False)
        before = links


def _table_groups(block: Block, before: Sequence[str]) -> Iterator[Group]:
    note = block.annotation
    header, _, *rows = block.text.splitlines()
    for offset, row in enumerate(rows, start=2):
        own = {path_of(link) for link in linked(row)}
        sources = _sources(linked(header) + linked(row), note) or list(before)
        if own:
            sources = [name for name in sources if path_of(name) in own]
        cells = re.split(r"(?<!\\)\|", cleaned(row))[2:-1]
        for text in cells if note.by == "cell" else [" | ".join(cells)]:
            yield Group(block.line + offset, numbers(text), sources, note, together=bool(note.by))


def _sources(links: Iterable[str], note: Annotation) -> list[str]:
    """Return the sources of the comment, and the linked files that it does not name."""
    named = {path_of(name) for name in note.sources}
    return note.sources + [link for link in links if path_of(link) not in named]


def read_source(name: str) -> list[list[Number]]:
    """Numbers of a source, line by line. Raises FileNotFoundError where there is no such file."""
    return _lines(path_of(name), name.removesuffix("]").partition("[")[2])


@functools.cache
def _lines(path: Path, wanted: str) -> list[list[Number]]:
    if path.suffix == ".json":
        return [[number] for number in _json_numbers(json.loads(path.read_text(encoding="utf-8")), wanted, "")]
    lines = path.read_text(encoding="utf-8").splitlines()
    return [numbers(line) for line in lines if wanted in line]


def _json_numbers(value: Any, wanted: str, at: str) -> Iterator[Number]:
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and wanted in at:
        yield Number(str(value), "-" if value < 0 else "", abs(value), 0.0)
    for key, each in items:
        yield from _json_numbers(each, wanted, f"{at}.{key}" if at else str(key))


def wrong_figures(page: Page) -> list[str]:
    """One line for each figure of a page that is not what its source says, and for what a comment has in vain."""
    found = list(groups(page))
    wrong = [f"{page.name}:{group.line}: {problem}" for group in found for problem in problems(group)]
    for note in {id(group.annotation): group.annotation for group in found}.values():
        own = [group for group in found if group.annotation is note]
        wrong += [f"{page.name}:{own[0].line}: {text} of the comment is not printed" for text in _unused(note, own)]
    return wrong


def _unused(note: Annotation, own: Sequence[Group]) -> Iterator[str]:
    """Yield what a comment gives that neither the figures of its block nor a sum of it need."""
    printed = [figure for group in own for figure in group.figures]
    operands = [number for each in note.sums for number in numbers(each.expression)]
    for number in [*note.given, *(each.figure for each in note.sums)]:
        if not any(_is_printed(number, other) for other in [*printed, *operands]):
            yield number.text


def problems(group: Group) -> list[str]:
    """One line for each figure of a group that is not found, and for each sum that is not right."""
    note = group.annotation
    lines = [line for name in group.sources for line in read_source(name)]
    pool = [number for line in lines for number in line]
    wrong = [problem for each in note.sums for problem in _sum_problems(each, [*pool, *note.given])]
    known = [*note.given, *(each.figure for each in note.sums)]
    figures = [figure for figure in group.figures if not any(_is_printed(figure, each) for each in known)]
    if not group.sources:
        return wrong + [f"{figure.text} has no result file" for figure in figures]
    if group.together:
        if not any(all(any(same(figure, each) for each in line) for figure in figures) for line in lines):
            wrong.append(f"no line of {', '.join(group.sources)} has all of {', '.join(each.text for each in figures)}")
        return wrong
    missing = [figure for figure in figures if not any(same(figure, each) for each in pool)]
    return wrong + [f"{figure.text} is not in {', '.join(group.sources)}" for figure in missing]


def _is_printed(figure: Number, other: Number) -> bool:
    return figure.text.lstrip("+-±") == other.text.lstrip("+-±")


def _sum_problems(wanted: Sum, pool: Sequence[Number]) -> list[str]:
    figure = wanted.figure
    low, high = _interval(ast.parse(wanted.expression, mode="eval").body, pool, wanted.expression)
    half = figure.half * (1 + 1e-9)
    for scale in (1, 100):
        if low * scale <= figure.value + half and high * scale >= figure.value - half:
            return []
    return [f"{figure.text} is not {wanted.expression}, which is {low:g} to {high:g}"]


def _interval(node: ast.expr, pool: Sequence[Number], text: str) -> tuple[float, float]:
    """Least and greatest value of a sum of positive, rounded operands. Raises ValueError for one of no file."""
    if isinstance(node, ast.BinOp):
        (a, b), (c, d) = _interval(node.left, pool, text), _interval(node.right, pool, text)
        if isinstance(node.op, ast.Add):
            return a + c, b + d
        if isinstance(node.op, ast.Sub):
            return a - d, b - c
        if isinstance(node.op, ast.Mult):
            return a * c, b * d
        return a / d, b / c
    printed = ast.get_source_segment(text, node) or ""
    (number,) = numbers(printed)
    if any(same(number, each) and each.half <= number.half for each in pool):
        half = number.half if "." in printed else 0  # counts are exact
        return number.value - half, number.value + half
    if number.value in CONSTANTS:
        return number.value, number.value
    raise ValueError(f"{text}: {printed} is in none of the files")


def path_of(name: str) -> Path:
    """The file of a source."""
    file = name.partition("[")[0]
    return ROOT / file if "/" in file and not (RESULTS / file).exists() else RESULTS / file
