"""The digest of a manifest, in the file itself: 64 digits near its beginning.

    {
     "schema_version": 2,
     "digest": "SHA-256 of the file's bytes, with zeros in place of these digits",
     ...

It covers every byte, the white space too, and is compared before anything is parsed. Manifests of schema version 1 have
none. What is signed is this digest (`signatures`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from gearshift.errors import IntegrityError
from gearshift.schema import FIELD as VERSION

DIGEST = "digest"
"""Field of the digest."""

_ZEROS = "0" * 64

_BEGINNING = re.compile(rb'\{\n "schema_version": \d{1,9},\n "digest": "([0-9a-f]{64})",\n')

_BEGINNING_OF_FIRST = re.compile(rb'\s*\{\s*"schema_version":\s*1\s*,')
"""Beginning of a manifest of version 1. No single bit makes it out of the beginning of a later version, and a digest in
one of version 1 is a field that it does not have."""


def with_digest(fields: Mapping[str, Any]) -> bytes:
    """Write the content of a manifest file with its digest; `fields`: its values, a digest among them is replaced."""
    others = {name: value for name, value in fields.items() if name not in {VERSION, DIGEST}}
    whole = {VERSION: fields[VERSION], DIGEST: _ZEROS, **others}
    content = (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode()
    return content.replace(_ZEROS.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


def stated_digest(content: bytes) -> str | None:
    """Return the digest that a manifest states, right or not; None if it states none."""
    beginning = _BEGINNING.match(content)
    return None if beginning is None else beginning[1].decode()


def checked_digest(content: bytes, place: object) -> str | None:
    """Return the digest of a manifest, None for one of version 1; raise IntegrityError if it has another content.

    `content`: bytes of the file that `place` names in errors.
    """
    stated = stated_digest(content)
    if stated is None:
        if _BEGINNING_OF_FIRST.match(content):
            return None
        raise IntegrityError(f"{place}: expected a manifest with its digest, found none; copy the bundle again")
    found = hashlib.sha256(content.replace(stated.encode(), _ZEROS.encode(), 1)).hexdigest()
    if found != stated:
        raise IntegrityError(f"{place}: expected digest {stated}, found {found}; copy the bundle again")
    return stated
