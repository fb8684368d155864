"""All kinds by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.fuzz.kinds import (
    altered_bytes,
    authored,
    manifest,
)
from tests.fuzz.outcome import Kind

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for module in (authored, manifest, altered_bytes)
    for kind in module.KINDS
}
