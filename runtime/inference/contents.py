"""Check of what a bundle holds, before any of it is used; made once for each content and device."""

from __future__ import annotations

import dataclasses

from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.files.known import Known
from gearshift.runtime.graph.check import check_graph
from gearshift.runtime.inference.tokenizer_file import open_tokenizer

CHECKS = 1
"""Version of the checks; those of another version are made again."""


def with_known_contents(bundle: Bundle, known: Known) -> Bundle:
    """Return the bundle as a known one: its graphs and its tokenizer pass now, or did before; raises SchemaError."""
    name = f"{CHECKS} {bundle.hash}"
    if not known.has(name):
        for precision in bundle.precisions:
            check_graph(bundle, precision)
        open_tokenizer(bundle)
        known.add(name)
    return dataclasses.replace(bundle, known=True)
