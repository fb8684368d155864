"""Checks that a bundle must have gone through before it is used: of its files alone, or also a trial."""

from __future__ import annotations

import dataclasses

import onnxruntime as ort
import tokenizers

from gearshift.errors import InputError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.files.known import Known

CHECKED, TRIED = "checked", "tried"

TRUST = (CHECKED, TRIED)
"""Checks that a bundle must have gone through before it is used: those of its files, each made where the file is
opened, or also a trial in a process of its own."""


def check_trust(trust: str) -> None:
    """Raise InputError for a value that is none of TRUST."""
    if trust not in TRUST:
        raise InputError(f"trust: expected {' or '.join(TRUST)}, got {trust!r}")


def trusted(bundle: Bundle, memory: Known | None, trust: str = CHECKED) -> Bundle:
    """Return the bundle with a memory of the checks that it passed, after its trial if `trust` asks for one.

    A trial is made again for another version of a library; it raises BundleError, or StorageError if no process can be
    started.
    """
    check_trust(trust)
    bundle = dataclasses.replace(bundle, memory=memory)
    if trust == TRIED:
        trial = f"trial, onnxruntime {ort.__version__}, tokenizers {tokenizers.__version__}"
        if not bundle.passed(trial):
            from gearshift.runtime.trust.trial import try_bundle  # which brings `subprocess`

            try_bundle(bundle)
            bundle.remember(trial)
    return bundle
