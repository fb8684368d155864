"""Data files as people have them (`tests.trainer.data.test_odd_files`), with other bytes, encodings and structure.

Right is a clear error that names the file, or a data set of whatever the file holds.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from pathlib import Path

from gearshift.trainer.data.splits import read_data
from tests.fuzz.kinds.altered_bytes import altered
from tests.fuzz.kinds.json_values import changed_json
from tests.fuzz.outcome import Kind

ASKED = "asked.json"
"""File of the task and the columns that a file is read with."""

PACKINGS = {".gz": gzip, ".bz2": bz2, ".xz": lzma}

PIECES = (
    b"\0",
    b"\t",
    b",",
    b";",
    b"|",
    b'"',
    b'""',
    b"'",
    b"\\",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\x1a",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    "\u2028".encode(),
    "\u202e".encode(),
    "\x85".encode(),
    b"sep=;\n",
    b"#",
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b"-1",
    b"x" * 300_000,
    b"word " * 50_000,
    b"[" * 5000,
    b"{" * 5000,
    b'{"a":' * 5000,
    b"(" * 200,
    b"-" * 5000,
    b"\\u0000",
    b"\\ud800",
    b"O\n" * 1000,
    b"version https://git-lfs",
)
"""Pieces of text that readers of tables trip over."""

NAMES = ("train.tsv", "train.csv", "train.json", "train.jsonl", "train.txt", "train.conll", "train.parquet")


def prepare(base: Path) -> None:
    """Write each file into a folder of its own, with what it is asked for."""
    import datasets

    datasets.disable_progress_bars()
    from tests.trainer.data.test_odd_files import FILES, REFUSED  # imports pandas

    files = [(f.name, f.content, f.encoding, f.task, dict(f.options)) for f in FILES.values()]
    files += [(name, content, "utf-8", task, {}) for name, content, task, _ in REFUSED.values()]
    for number, (name, content, encoding, task, options) in enumerate(files):
        folder = base / f"{number:03}"
        folder.mkdir()
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        (folder / ASKED).write_text(json.dumps([task, options]))


def make(base: Path, case: Path, source: random.Random) -> bool:
    folder = source.choice(sorted(base.iterdir()))
    (original,) = [path for path in folder.iterdir() if path.name != ASKED]
    asked = (folder / ASKED).read_bytes()
    if source.random() < 0.05:
        asked = json.dumps([source.choice(TASKS), json.loads(asked)[1]]).encode()
    (case / ASKED).write_bytes(asked)
    name = original.name if source.random() < 0.95 else source.choice(NAMES)
    target = case / "data"
    target.mkdir()
    path = target / name
    content = original.read_bytes()
    if path.suffix == ".parquet" and source.random() < 0.7:
        content = content if source.random() < 0.02 else altered(content, source)
    elif path.suffix in PACKINGS and source.random() < 0.7:
        packing = PACKINGS[path.suffix]
        content = packing.compress(altered_text(packing.decompress(content), source)) if _is_whole(content) else content
    elif ".json" in path.name and source.random() < 0.5:
        content = altered_json(content, source)
    else:
        content = altered_text(content, source)
    path.write_bytes(content)
    if source.random() < 0.3:
        (target / name.replace("train", source.choice(("dev", "test", "valid", "Train")))).write_bytes(content)
    if source.random() < 0.05:
        (target / source.choice(("labels.txt", "dataset_info.json", "state.json"))).write_bytes(content[:1000])
    return True


TASKS = (
    "classification",
    "multi-label-classification",
    "regression",
    "token-classification",
    "question-answering",
    "embedding",
)


def _is_whole(content: bytes) -> bool:
    return (content[:2] == b"\x1f\x8b" and len(content) > 40) or content[:3] == b"BZh" or content[:2] == b"\xfd7"


def altered_json(content: bytes, source: random.Random) -> bytes:
    """Return JSON, or one of its lines, with other values."""
    lines = content.splitlines(keepends=True)
    place = source.randrange(len(lines) or 1)
    for start, end in ((0, len(lines)), (place, place + 1)):
        try:
            changed = changed_json(b"".join(lines[start:end]).strip(), source)
        except (ValueError, RecursionError):
            continue
        return b"".join([*lines[:start], changed, b"\n", *lines[end:]])
    return altered_text(content, source)


def altered_text(content: bytes, source: random.Random) -> bytes:
    """Return text with a few pieces put in, lines exchanged or gone, in another encoding, or with other bytes."""
    changed = bytearray(content)
    for _ in range(source.choice((1, 1, 2, 4))):
        place = source.randrange(len(changed) + 1)
        kind = source.random()
        if kind < 0.5:
            changed[place:place] = source.choice(PIECES)
        elif kind < 0.65:
            changed[place : place + source.choice((1, 5, 50))] = source.choice(PIECES)
        elif kind < 0.75:
            lines = bytes(changed).split(b"\n")
            source.shuffle(lines)
            changed = bytearray(b"\n".join(lines[: source.choice((1, len(lines), len(lines)))]))
        elif kind < 0.85:
            changed = bytearray(altered(bytes(changed), source))
        elif kind < 0.95:
            text = bytes(changed).decode("utf-8", "replace")
            changed = bytearray(text.encode(source.choice(("utf-16", "utf-16-le", "utf-32", "latin-1")), "replace"))
        else:
            changed *= source.choice((0, 2, 50))
    return bytes(changed)


def used(base: Path, case: Path) -> bool:
    task, options = json.loads((case / ASKED).read_bytes())
    data = read_data(case / "data", task=task, **options)
    assert data.splits["train"] and data.task == task
    assert all("\n" not in note for note in data.notes), data.notes
    return False


KINDS = (Kind("data_files", make, used, prepare, weight=20, imports=("datasets", "pyarrow.parquet")),)
