"""The bundle that is changed, the answers that it gives, and those of a changed one."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.export.trim import trim_bundle
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import MANIFEST
from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.self_test import FP32_TOLERANCE, check_self_test, checked_encoder
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import Text

TINY = Path(__file__).parents[1] / "data" / "tiny.gearshift"

KEPT = ("w050-d050", "w025-d050")
"""Subnets of the bundle that is changed: with all twelve of the tiny one, a case takes four times as long."""

BUNDLE = "bundle.gearshift"
ANSWERS = "answers.json"

TEXTS: list[Text] = ["turn the lights off", "a \u6f22\u5b57 \U0001f600 word" + "s" * 300, ("is it on?", "x " * 500)]

Answers = dict[str, list[Any]]
"""By precision, subnet and text: the name of the best label, and the logits."""


def prepare(base: Path) -> None:
    """Write the bundle and its answers into a folder."""
    trim_bundle(open_bundle(TINY), base / BUNDLE, keep=KEPT)
    (base / ANSWERS).write_text(json.dumps(answers_of(open_bundle(base / BUNDLE))))


def answers_of(
    bundle: Bundle, precisions: Collection[str] = ("fp32", "int8"), *, tokenizer_first: bool = False
) -> Answers:
    """Load a bundle as an engine does, self-test included, and answer.

    `tokenizer_first`: open the tokenizer before the graph, which is quicker where it is the one that is refused.
    """
    found: Answers = {}
    encoder = checked_encoder(bundle) if tokenizer_first else None
    for precision in (one for one in bundle.precisions if one in precisions):
        session = ElasticSession(bundle, precision, threads=1)
        check_self_test(session, bundle)
        encoder = encoder or checked_encoder(bundle)
        found |= answers_in(Opened.of(bundle, session, None, encoder))
        session.close()
    return found


def answers_in(opened: Opened) -> Answers:
    """Answer with every subnet of an opened bundle."""
    found: Answers = {}
    labels = opened.bundle.manifest.labels
    for name, execute in opened.executors.items():
        for number, text in enumerate(TEXTS):
            (logits,) = execute(opened.encoder.encode([text]), None)
            row = np.asarray(logits, dtype=np.float64).ravel()
            best = labels[int(row.argmax())] if labels else ""
            found[f"{opened.session.precision} {name} {number}"] = [best, row.tolist()]
    return found


def are_recorded(base: Path, found: Answers, place: str = ANSWERS) -> bool:
    """Return whether answers are those of the unaltered bundle: the same labels, and logits within the tolerance of a
    self-test; there must be some. `place`: file of the base that has them."""
    recorded = _recorded(base / place)
    return bool(found) and all(name in recorded and _same(found[name], recorded[name]) for name in found)


def _same(one: list[Any], other: list[Any]) -> bool:
    rows = [np.asarray(row) for _, row in (one, other)]
    if one[0] != other[0] or rows[0].shape != rows[1].shape:
        return False
    return bool(np.abs(rows[0] - rows[1]).max() <= FP32_TOLERANCE)  # also false for NaN


@functools.cache
def _recorded(path: Path) -> Answers:
    found: Answers = json.loads(path.read_bytes())
    return found


def use(
    base: Path, directory: Path, precisions: Collection[str] = ("fp32", "int8"), *, tokenizer_first: bool = False
) -> bool:
    """Answer with a changed bundle; return whether answers and meaning are those before the change."""
    bundle = open_bundle(directory)
    return are_recorded(base, answers_of(bundle, precisions, tokenizer_first=tokenizer_first)) and has_meaning(
        base, bundle
    )


def has_meaning(base: Path, bundle: Bundle) -> bool:
    """Return whether the manifest of a bundle means the same as that of the unaltered one, apart from hashes."""
    return _meaning(bundle) == _recorded_meaning(base / BUNDLE)


@functools.cache
def _recorded_meaning(path: Path) -> dict[str, Any]:
    return _meaning(open_bundle(path))


def _meaning(bundle: Bundle) -> dict[str, Any]:
    return {name: value for name, value in bundle.manifest.to_dict().items() if name != "files"}


def copy_bundle(source: Path, target: Path, *, without: Collection[str] = ()) -> None:
    """Copy a bundle by links, which must be replaced and not be written to."""
    target.mkdir()
    for path in source.iterdir():
        if path.name not in without:
            os.link(path, target / path.name)


def own(path: Path) -> Path:
    """Make a linked file a copy of its own, to be written to; return its path."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return path


def replace(path: Path, content: bytes) -> None:
    """Write a file in place of one that may be linked, or be something else."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def mend(directory: Path) -> None:
    """Make sizes and hashes of the manifest right, as an author would."""
    raw = json.loads((directory / MANIFEST).read_bytes())
    for path in directory.iterdir():
        if path.name in raw["files"]:
            content = path.read_bytes()
            raw["files"][path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    replace(directory / MANIFEST, mended(json.dumps(raw, ensure_ascii=False).encode("utf-8", "surrogatepass")))


VERSION, DIGEST = "schema_version", "digest"


def mended(content: bytes) -> bytes:
    """Return a manifest with a digest that is right, if it has one: that of the file with zeros in its place."""
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError):
        return content
    if not isinstance(raw, dict) or not {VERSION, DIGEST} <= raw.keys():
        return content
    zeros = "0" * 64
    others = {name: value for name, value in raw.items() if name not in {VERSION, DIGEST}}
    zeroed = json.dumps({VERSION: raw[VERSION], DIGEST: zeros, **others}, indent=1).encode()
    return zeroed.replace(zeros.encode(), hashlib.sha256(zeroed).hexdigest().encode(), 1)
