"""Contents of a request: texts for the engine, and the way in which their answers are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gearshift.errors import InputError
from gearshift.json_reader import parse_json
from gearshift.number_checks import shown
from gearshift.runtime.bundle.manifest import Manifest


@dataclass(frozen=True)
class Asked:
    """Texts of a request in any form."""

    texts: Any
    """Text or list of texts, as `Engine.submit` takes them."""
    write: Callable[[Any], dict[str, Any]]
    """Function that makes the body's fields of the answer, or of the list of answers."""


Form = Callable[[Mapping[str, Any], Manifest, int], Asked]
"""Function that reads the fields of a body: (fields, manifest, most texts) -> Asked. Raises InputError."""


def read_fields(body: bytes) -> Mapping[str, Any]:
    """Return the fields of a body; raise InputError if it is no JSON object."""
    try:
        fields = parse_json(body)
    except ValueError as error:
        raise InputError(f"body: expected a JSON object ({error})") from error
    if not isinstance(fields, dict):
        raise InputError(f"body: expected a JSON object, got {shown(fields)}")
    return fields


def refuse_others(fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise InputError for a field that is not known: what is misspelt would be left out in silence."""
    for name in fields:
        if name not in known:
            raise InputError(f"body: expected {', '.join(known)}, got the field {shown(name)}")


def check_count(count: int, most: int) -> None:
    """Raise InputError for no texts, and for more than `most`."""
    if not 1 <= count <= most:
        raise InputError(f"texts: expected 1 to {most} in a request, got {count}; send several requests")


def check_model(fields: Mapping[str, Any], manifest: Manifest) -> None:
    """Raise InputError if a body names another model."""
    model = fields.get("model", manifest.name)
    if model != manifest.name:
        raise InputError(f"model: expected {manifest.name}, the one that is served, or none, got {shown(model)}")


def width_of(manifest: Manifest) -> int:
    """Return the width of an embedding model's vectors; older bundles do not name it, and have the net's own."""
    return int(manifest.space.shape.hidden) if manifest.vectors is None else manifest.vectors.width
