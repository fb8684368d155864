"""All kinds by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.fuzz.kinds import (
    altered_bytes,
    arguments,
    authored,
    cache_entries,
    compressed,
    data_files,
    logs,
    manifest,
    profiles,
    signatures,
    states,
)
from tests.fuzz.outcome import Kind

MODULES = (
    *(authored, manifest, signatures, compressed, cache_entries, altered_bytes),
    *(profiles, logs, states, data_files, arguments),
)
"""Modules of kinds, those first whose files come from strangers."""

KINDS: Mapping[str, Kind] = {kind.name: kind for module in MODULES for kind in module.KINDS}
