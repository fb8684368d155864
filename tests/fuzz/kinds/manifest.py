"""Manifests of other structure and values, whose digest is right: as a malicious author writes them.

Right is a clear error, or answers: an author may name labels as he likes.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from gearshift.runtime.bundle.manifest import MANIFEST
from tests.fuzz.answers import BUNDLE, copy_bundle, mended, prepare, replace, use
from tests.fuzz.kinds.json_values import NUMBERS, TEXTS, changed_json
from tests.fuzz.outcome import Kind

CASE = "case.gearshift"

KNOWN: dict[str, tuple[Any, ...]] = {
    "task": (
        "regression",
        "multi-label-classification",
        "token-classification",
        "question-answering",
        "embedding",
        "x",
    ),
    "metric": ("accuracy", "f1", "spearman", "", "x"),
    "max_length": NUMBERS,
    "pad_id": NUMBERS,
    "labels": ([], ["a"], ["a", "a"], ["x"] * 30, [str(number) for number in range(30)], ["\x1b[2J"] * 2, [1, 2]),
    "inputs": ([], ["input_ids"], ["choice"], ["attention_mask", "input_ids"], ["input_ids", "attention_mask", "x"]),
    "minimum_onnxruntime": ("0", "1", "99", "1.x", "", "1." * 1000),
    "session_options": (
        {},
        {"session.use_ort_model_bytes_directly": "1"},
        {"ep.dynamic.workload_type": "Efficient"},
        {"session.intra_op_thread_affinities": "1;2"},
        {"session.intra_op.allow_spinning": "x"},
        {"session.load_model_format": "ORT"},
        {"graph_optimization_level": "all"},
        {"graph_optimization_level": "x"},
        {"session.disable_prepacking": "1"},
        {"session.optimized_model_external_initializers_file_name": "/tmp/x"},
        {"": ""},
    ),
    "accuracy_rows": NUMBERS,
    "macs_tokens": NUMBERS,
    "schema_version": (*NUMBERS, "1", None),
    "losses": ({"w050-d050": 0.5}, {"x": 1.0}, {"x": 1}, {"x": -0.1}),
    "wide_layers": ([0], [99], [-1], [0] * 1000),
    "tagging": ({}, {"scheme": "IOB2"}, {"words": "x", "scheme": "BIO"}),
    "vectors": ({"width": 30, "normalized": True}, {"width": 0, "normalized": 1}),
}
"""Values of fields that the manifest knows."""

ENTRY: dict[str, tuple[Any, ...]] = {
    "name": (*TEXTS, "dan", "w050-d050"),
    "executor": ("dan", "elastic", "x", ""),
    "file": (*TEXTS, "int8.onnx", "fp32.onnx", "tokenizer.json", "int8.weights", "./fp32.onnx"),
    "choice": ([], [0], [0, 0], [1, 1], [99, 99], [-1, 0], [0] * 1000),
    "precision": ("fp16", "fp32", "int8", "x"),
    "accuracy": (0, 1, 1.5, -1, float("nan"), 0.999),
    "parameters": NUMBERS,
    "macs": NUMBERS,
    "null_threshold": NUMBERS,
}
"""Values of fields of a pool entry."""


def make(base: Path, case: Path, source: random.Random) -> bool:
    directory = case / CASE
    copy_bundle(base / BUNDLE, directory)
    content = (directory / MANIFEST).read_bytes()
    replace(directory / MANIFEST, mended(changed(content, source)))
    return True


def changed(content: bytes, source: random.Random) -> bytes:
    """Return a manifest with changes anywhere, or of fields that are known."""
    if source.random() < 0.5:
        return changed_json(content, source)
    raw = json.loads(content)
    for _ in range(source.choice((1, 1, 2))):
        kind = source.random()
        if kind < 0.5:
            name = source.choice(list(KNOWN))
            raw[name] = source.choice(KNOWN[name])
        elif kind < 0.85 and raw["pool"]:
            name = source.choice(list(ENTRY))
            source.choice(raw["pool"])[name] = source.choice(ENTRY[name])
        elif kind < 0.9:
            raw["pool"] = raw["pool"][:9] * source.choice((0, 2, 500))
        else:
            name = source.choice(list(raw["files"]))
            raw["files"][source.choice((*TEXTS, "../" + name, "./" + name, name + "\0"))] = raw["files"].pop(name)
    return json.dumps(raw).encode()


def used(base: Path, case: Path) -> bool:
    return use(base, case / CASE, ["int8"])


KINDS = (Kind("manifest", make, used, prepare, weight=16),)
