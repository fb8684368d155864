"""Bundles with one file that a malicious author changed: graphs, tokenizer, self-test, weights; the hashes are right.

Right is a clear error, or answers: other ones too, since the self-test of an author agrees with any weights.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from gearshift.runtime.bundle.manifest import TOKEN_VECTORS, TOKENIZER
from tests.fuzz.answers import BUNDLE, copy_bundle, mend, prepare, replace, use
from tests.fuzz.kinds import graph, self_test, tokenizer, weights
from tests.fuzz.kinds.json_values import changed_json
from tests.fuzz.outcome import Kind

Change = Callable[[bytes, random.Random], bytes]

CASE = "case.gearshift"


def of_file(kind: str, file: str, change: Change, precision: str, *, weight: int = 1) -> Kind:
    """Return the kind of bundles whose `file` is changed; they answer at one precision."""

    def make(base: Path, case: Path, source: random.Random) -> bool:
        copy_bundle(base / BUNDLE, case / CASE)
        content = (base / BUNDLE / file).read_bytes()
        changed = change(content, source)
        replace(case / CASE / file, changed)
        mend(case / CASE)
        return changed != content

    def used(base: Path, case: Path) -> bool:
        return use(base, case / CASE, [precision], tokenizer_first=file in (TOKENIZER, TOKEN_VECTORS))

    return Kind(kind, make, used, prepare, weight)


KINDS = (
    of_file("graph", "fp32.onnx", graph.change, "fp32", weight=8),
    of_file("int8_graph", "int8.onnx", graph.change, "int8", weight=8),
    of_file("tokenizer", TOKENIZER, tokenizer.change, "fp32", weight=8),
    of_file("self_test", "selftest.npz", self_test.change, "int8", weight=3),
    of_file("token_vectors", TOKEN_VECTORS, changed_json, "fp32", weight=4),
    of_file("weights", "int8.weights", weights.change, "int8", weight=2),
)
