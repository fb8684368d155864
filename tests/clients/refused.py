"""Bundles that every client must refuse, each with the name of the error and a pattern of its words.

build/clients/refused/NUMBER is a bundle, and refused.json says which is what.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.runtime.bundle.manifest import MANIFEST, SELF_TEST, Manifest
from gearshift.runtime.bundle.tasks import MEAN, MULTI_TASK

TINY = "tiny.gearshift"
ZEROS = "0" * 64

Change = Callable[[Path], object]


def alter(folder: Path, change: Callable[[Any], object]) -> None:
    """Alter fields of the manifest, with the digest that it then has."""
    path = folder / "manifest.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    change(raw)
    raw["digest"] = ZEROS
    content = json.dumps(raw, indent=1, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(content.encode()).hexdigest()
    path.write_text(content.replace(ZEROS, digest, 1), encoding="utf-8")


def exchange(folder: Path, name: str, change: Callable[[Any], object]) -> None:
    """Alter a JSON file of a bundle, and its entry in the manifest."""
    raw = json.loads((folder / name).read_text(encoding="utf-8"))
    change(raw)
    seal(folder, name, json.dumps(raw).encode())


def seal(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a bundle, and its entry in the manifest."""
    (folder / name).write_bytes(content)
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    alter(folder, lambda manifest: manifest["files"].update({name: entry}))


def _set(field: str, value: object) -> Change:
    return lambda folder: alter(folder, lambda raw: raw.update({field: value}))


def _link(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder.parent / "linked.json")
    (folder / "tokenizer.json").symlink_to("../linked.json")


def _flip(folder: Path) -> None:
    content = bytearray((folder / "fp32.onnx").read_bytes())
    content[2000] ^= 1
    (folder / "fp32.onnx").write_bytes(content)


def _swap(raw: Any) -> None:
    one, other = raw["pool"][:2]
    for field in ("choice", "subnet"):
        one[field], other[field] = other[field], one[field]


def _cut(folder: Path) -> None:
    content = (folder / "fp32.weights").read_bytes()
    (folder / "fp32.weights").write_bytes(content[:1000])


def _rename(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"tiny"', '"tinz"'), encoding="utf-8")


def _with_arrays(change: Callable[[dict[str, Any]], object]) -> Change:
    """Exchange the arrays of the self-test, and its entry in the manifest."""

    def apply(folder: Path) -> None:
        with np.load(folder / SELF_TEST) as arrays:
            found = dict(arrays)
        change(found)
        made = io.BytesIO()
        np.savez(made, allow_pickle=False, **found)
        seal(folder, SELF_TEST, made.getvalue())

    return apply


def _with_shape(shape: bytes) -> Change:
    """Write another shape into the header of an array of the self-test, which is stored and as long as before."""

    def apply(folder: Path) -> None:
        _with_arrays(lambda arrays: None)(folder)
        content = (folder / SELF_TEST).read_bytes()
        start = content.index(b"'shape': (", content.index(b"input_ids.npy")) + len(b"'shape': (")
        end = content.index(b"\n", start)
        written = (shape + b"), }").ljust(end - start)
        seal(folder, SELF_TEST, content[:start] + written + content[end:])

    return apply


NOT_READABLE = r"selftest\.npz: not readable \(.*\); export the bundle again"


def _several_heads(folder: Path) -> None:
    """Make the bundle one of two heads, as far as its manifest says."""
    heads = [
        {"name": name, "task": "classification", "metric": "accuracy", "labels": ["a", "b"]} for name in ("one", "two")
    ]

    def change(raw: Any) -> None:
        raw.update({"task": MULTI_TASK, "metric": MEAN, "labels": [], "heads": heads})
        for entry in raw["pool"]:
            entry["head_accuracies"] = {"one": entry["accuracy"], "two": entry["accuracy"]}

    alter(folder, change)
    Manifest.from_content((folder / MANIFEST).read_bytes(), folder / MANIFEST)  # one that the runtime reads


REFUSED: dict[str, tuple[str, str, Change]] = {
    "no bundle": (
        "BundleError", r"expected a bundle directory, found no manifest\.json in it",
        lambda folder: (folder / "manifest.json").unlink(),
    ),
    "a compressed bundle": (
        "SchemaError", "found a compressed one; unpack it",
        lambda folder: (folder / "compressed.json").write_text("{}"),
    ),
    "an altered manifest": (
        "IntegrityError", r"manifest\.json: expected digest [0-9a-f]{64}, found [0-9a-f]{64}; copy the bundle again",
        _rename,
    ),
    "a manifest without a digest": (
        "IntegrityError", "expected a manifest with its digest, found none",
        lambda folder: (folder / "manifest.json").write_text("{}"),
    ),
    "another schema version": (
        "SchemaError", "expected schema version 2, found 3; install a newer gearshift", _set("schema_version", 3),
    ),
    "an unknown field": ("SchemaError", "an unknown field 'more'", _set("more", 1)),
    "a field less": ("SchemaError", "no field 'labels'", lambda folder: alter(folder, lambda raw: raw.pop("labels"))),
    "no inputs": ("SchemaError", "inputs: not usable: ", _set("inputs", [])),
    "an unknown task": (
        "SchemaError", "expected a task out of classification, .* found 'translation'; install a newer",
        _set("task", "translation"),
    ),
    "several heads": (
        "SchemaError", "expected a task out of classification, .* found 'multi-task'; install a newer", _several_heads,
    ),
    "an unknown option": (
        "SchemaError", r"expected session options out of .*found 'session\.x'",
        lambda folder: alter(folder, lambda raw: raw["session_options"].update({"session.x": "1"})),
    ),
    "a path out of the bundle": (
        "IntegrityError", "expected a plain file name inside the bundle",
        lambda folder: alter(folder, lambda raw: raw["files"].update({"../x": {"bytes": 1, "sha256": ""}})),
    ),
    "a choice of another subnet": (
        "SchemaError", r"choice \[1, 0, 0, 0\] of w100-d100 makes another subnet",
        lambda folder: alter(folder, lambda raw: raw["pool"][0]["choice"].__setitem__(0, 1)),
    ),
    "a newer onnxruntime": (
        "SchemaError", r"this bundle needs onnxruntime 99\.1 or newer", _set("minimum_onnxruntime", "99.1"),
    ),
    "an altered graph": ("IntegrityError", r"fp32\.onnx: expected sha256 [0-9a-f]{64}, found", _flip),
    "truncated weights": (
        "IntegrityError", r"fp32\.weights: expected 207360 bytes, found 1000; copy the bundle again", _cut,
    ),
    "a missing tokenizer": (
        "IntegrityError", r"tokenizer\.json: missing; copy the bundle again",
        lambda folder: (folder / "tokenizer.json").unlink(),
    ),
    "a link out of the bundle": ("IntegrityError", "expected a file, found a symbolic link to", _link),
    "a tokenizer of another kind": (
        "SchemaError", "found a model 'Unigram', of which this client knows WordPiece",
        lambda folder: exchange(folder, "tokenizer.json", lambda raw: raw["model"].update({"type": "Unigram"})),
    ),
    "a tokenizer that makes other tokens": (
        "SelfTestError", 'self-test of the tokenizer: expected other tokens for "The quick',
        lambda folder: exchange(folder, "tokenizer.json", lambda raw: raw["normalizer"].update({"lowercase": False})),
    ),
    "a self-test that is no archive": (
        "SchemaError", NOT_READABLE, lambda folder: seal(folder, SELF_TEST, b"PK" * 50),
    ),
    "a self-test whose numbers are too few for its shape": ("SchemaError", NOT_READABLE, _with_shape(b"9, 9999")),
    "a self-test of a shape beyond all measure": (
        "SchemaError", NOT_READABLE, _with_shape(b"4294967296, 4294967296"),
    ),
    "a self-test of a shape beyond all numbers": ("SchemaError", NOT_READABLE, _with_shape(b"9" * 40)),
    "a self-test without an array": (
        "SchemaError", NOT_READABLE, _with_arrays(lambda arrays: arrays.pop("logits.fp32.w100-d100")),
    ),
    "a self-test whose inputs are no integers": (
        "SchemaError", NOT_READABLE, _with_arrays(lambda arrays: arrays.update(input_ids=np.zeros((2, 2), np.float32))),
    ),
    "a self-test whose inputs have several shapes": (
        "SchemaError", NOT_READABLE, _with_arrays(lambda arrays: arrays.update(input_ids=arrays["input_ids"][:-1])),
    ),
    "another self-test": (
        "SelfTestError", r"fp32 self-test, subnet w100-d100: largest difference of a logit: expected at most 0\.001",
        lambda folder: alter(folder, _swap),
    ),
}  # fmt: skip
"""Fault -> name of the error, pattern of its message, and how the bundle comes to it."""


def write_refused(build: Path) -> None:
    """Write every such bundle, and the list of them."""
    rows = []
    for number, (what, (error, pattern, change)) in enumerate(REFUSED.items()):
        folder = build / "refused" / str(number)
        shutil.copytree(build / TINY, folder)
        change(folder)
        rows.append({"what": what, "folder": f"refused/{number}", "error": error, "pattern": pattern})
    (build / "refused.json").write_text(json.dumps(rows, indent=1))
