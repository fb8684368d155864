"""CoNLL's columns: one word a line with its tag, and an empty line between sentences.

1. Columns are separated by tabs if every line has one, else by blanks. The first is the word, or the second where the
   first numbers the words of each sentence; the last is the tag. All are there under their numbers, "1" and on, for
   `label_column`.
2. Ten columns are those of Universal Dependencies: the words are the second, the tags the fourth (UPOS), and lines for
   several words at once (`1-2`) are no words.
3. `-DOCSTART-` lines separate documents and are no sentence. Lines that begin with `#` before a sentence are comments
   if they have another number of columns, or a last column that no other line has.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gearshift.errors import DataError
from gearshift.trainer.data.files.decoding import lines_of
from gearshift.trainer.data.files.records import TAGS, TOKENS, FileRecords, Record

_UNIVERSAL, _UPOS = 10, 3
"""Columns of Universal Dependencies, and the place of the part of speech among them."""

_Word = tuple[int, list[str]]
"""Line of a word, and its columns."""


def read_conll(path: Path, text: str) -> FileRecords:
    """Read the sentences of a file as lists of words and tags; raise DataError with file and line."""
    lines = [(number, line) for number, line in lines_of(text)]
    words = [line for _, line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))]
    if not words:
        raise DataError(f"{path}: no rows; expected a word and its tag on each line")
    separator = "\t" if all("\t" in line for line in words) else None
    sentences = _sentences(
        lines, separator, {_cut(line, separator)[-1] for line in words}, len(_cut(words[0], separator))
    )
    count = _columns(path, sentences)
    if count == _UNIVERSAL:
        sentences = [[word for word in sentence if word[1][0].isdecimal()] for sentence in sentences]
    word = 1 if count > 2 and all(_numbered(sentence) for sentence in sentences) else 0
    tag = _UPOS if count == _UNIVERSAL and word else count - 1
    notes = []
    if count > 2:
        notes = [f"{path}: of {count} columns, {word + 1} is read as the words and {tag + 1} as the tags"]
    return FileRecords(_records(sentences, word, tag), tuple(notes))


def looks_like_conll(text: str) -> bool:
    """Return whether a file has a word a line: no header of several named columns, but lines of two columns or more and
    empty lines between some."""
    lines = [line.strip() for _, line in lines_of(text[:100_000])]
    filled = [line for line in lines if line and not line.startswith("-DOCSTART-")]
    return len(filled) > 1 and "" in lines[: len(lines) - 1] and all(len(line.split()) > 1 for line in filled[:-1])


def _cut(line: str, separator: str | None) -> list[str]:
    return [field.strip() for field in line.rstrip().split(separator)] if separator else line.split()


def _sentences(lines: list[tuple[int, str]], separator: str | None, tags: set[str], count: int) -> list[list[_Word]]:
    sentences: list[list[_Word]] = [[]]
    for number, line in lines:
        fields = _cut(line, separator)
        if not line.strip() or fields[0] == "-DOCSTART-":
            sentences.append([])
        elif not sentences[-1] and line.startswith("#") and (len(fields) != count or fields[-1] not in tags):
            continue
        else:
            sentences[-1].append((number, fields))
    return [sentence for sentence in sentences if sentence]


def _columns(path: Path, sentences: list[list[_Word]]) -> int:
    """Return the number of columns; raise DataError if a line has another one, or an empty column."""
    count = len(sentences[0][0][1])
    if count < 2:
        line = sentences[0][0][0]
        raise DataError(f"{path}:{line}: expected a word and its tag, got one column; check what separates them")
    for sentence in sentences:
        for line, fields in sentence:
            if len(fields) != count or not all(fields):
                got = len([field for field in fields if field])
                raise DataError(f"{path}:{line}: expected {count} columns as on the first line, got {got}; correct it")
    return count


def _numbered(sentence: list[_Word]) -> bool:
    """Return whether the first column counts the words of a sentence."""
    first = [fields[0] for _, fields in sentence]
    return all(one.isdecimal() for one in first) and [int(one) for one in first] in (
        list(range(len(first))),
        list(range(1, len(first) + 1)),
    )


def _records(sentences: list[list[_Word]], word: int, tag: int) -> Iterator[Record]:
    for sentence in filter(None, sentences):
        columns = [list(column) for column in zip(*(fields for _, fields in sentence), strict=True)]
        named: dict[str, object] = {str(number): column for number, column in enumerate(columns, start=1)}
        yield sentence[0][0], {**named, TOKENS: columns[word], TAGS: columns[tag]}
