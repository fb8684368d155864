"""JSON objects that carry the hash of their own values: one that changed on the disk by itself is not believed.

Bottom layer, beside `errors`: the standard library alone. This finds accidents; whoever may write the file may seal it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "sha256"
"""Field of the hash, which covers the values of all others, not their order or the white space between them."""


def sealed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with its hash."""
    return {**fields, SEAL: _hash(fields)}


def unsealed(raw: Any) -> dict[str, Any]:
    """Return the fields of an object that `sealed` made; raise ValueError if they are others, or it has no hash."""
    if not isinstance(raw, dict) or SEAL not in raw:
        raise ValueError(f"expected a JSON object with its {SEAL}")
    fields = {name: value for name, value in raw.items() if name != SEAL}
    if raw[SEAL] != _hash(fields):
        raise ValueError(f"its content has changed since it was written: another {SEAL}")
    return fields


def _hash(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
