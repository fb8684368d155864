"""Check of what a bundle holds, before any of it is used; made once for each content and device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import onnxruntime as ort
import tokenizers

from gearshift.errors import InputError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.files.known import Known
from gearshift.runtime.graph.check import check_graph
from gearshift.runtime.inference.tokenizer_file import open_tokenizer
from gearshift.runtime.inference.trial import try_bundle

CHECKS = 1
"""Version of the checks; those of another version are made again."""

CHECKED, TRIED = "checked", "tried"

TRUST = (CHECKED, TRIED)
"""Checks that a bundle must have gone through before it is used: those of its files, or also a trial in a process of
its own."""


def check_trust(trust: str) -> None:
    """Raise InputError for a value that is none of TRUST."""
    if trust not in TRUST:
        raise InputError(f"trust: expected {' or '.join(TRUST)}, got {trust!r}")


def with_known_contents(bundle: Bundle, known: Known | None, trust: str = CHECKED) -> Bundle:
    """Return the bundle as a known one: its graphs and its tokenizer pass now, or did before; raises BundleError.

    `known`: memory of what passed; None: nothing did. `trust`: one of TRUST. A trial is made again for another version
    of a library; it raises StorageError if no process can be started.
    """
    check_trust(trust)
    versions = f"onnxruntime {ort.__version__}, tokenizers {tokenizers.__version__}"
    steps: dict[str, Callable[[Bundle], None]] = {f"{CHECKED} {CHECKS}: {bundle.hash}": _check}
    if trust == TRIED:
        steps[f"{TRIED} {CHECKS}, {versions}: {bundle.hash}"] = try_bundle
    for name, step in steps.items():
        if known is None or not known.has(name):
            step(bundle)
            if known is not None:
                known.add(name)
    return dataclasses.replace(bundle, known=True)


def _check(bundle: Bundle) -> None:
    for precision in bundle.precisions:
        check_graph(bundle, precision)
    open_tokenizer(bundle)
