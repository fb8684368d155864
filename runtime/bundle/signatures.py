"""Signatures of a bundle, in a file beside its manifest: who vouches for it, and as which version.

    {
     "schema_version": 1,
     "signatures": [{"key": "public key, 64 digits", "version": 3, "signature": "128 digits"}]
    }

Ed25519 over DOMAIN, the manifest's digest (32 bytes) and the version (8 bytes, 0 for none). The manifest does not list
this file, so that a bundle can be signed after it was made, by several keys, and keeps its hash.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gearshift.errors import InputError, SchemaError
from gearshift.number_checks import is_whole
from gearshift.runtime.bundle.integrity import check_place
from gearshift.runtime.bundle.keys import name_of
from gearshift.runtime.files.atomic import replace_file
from gearshift.schema import Schema

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURES = "signatures.json"

DOMAIN = b"gearshift bundle v1\0"
"""Beginning of all that is signed: a signature for another purpose is none here."""

LARGEST_VERSION = (1 << 63) - 1

MOST_SIGNATURES = 64

SCHEMA = Schema(
    version=1, advice=f"remove {SIGNATURES}, and have the bundle signed again", most_bytes=MOST_SIGNATURES << 10
)

_KEY = re.compile("[0-9a-f]{64}")
_SIGNATURE = re.compile("[0-9a-f]{128}")


@dataclass(frozen=True)
class Signature:
    """Signature by one key, right or not."""

    key: str
    """Name of the public key."""
    version: int | None
    """Version that was given to the bundle, from 1 on; None for none."""
    signature: str
    """Signature in hexadecimal."""

    def __post_init__(self) -> None:
        for name, form in (("key", _KEY), ("signature", _SIGNATURE)):
            value = getattr(self, name)
            if not isinstance(value, str) or not form.fullmatch(value):
                raise InputError(f"{name} of a signature: expected hexadecimal digits, found {value!r:.80}")
        if self.version is not None:
            check_version(self.version)

    @property
    def shown_version(self) -> str:
        """Version in words."""
        return "no version" if self.version is None else f"version {self.version}"


def check_version(version: object) -> None:
    """Raise InputError for anything but a whole number from 1 to LARGEST_VERSION."""
    if not is_whole(version, 1, LARGEST_VERSION):
        raise InputError(f"version: expected a whole number from 1 to {LARGEST_VERSION}, got {version!r:.40}")


def message_of(digest: str, version: int | None) -> bytes:
    """Return the bytes that are signed for a manifest's digest and a version."""
    return DOMAIN + bytes.fromhex(digest) + (version or 0).to_bytes(8, "big")


def read_signatures(directory: Path) -> tuple[Signature, ...]:
    """Return the signatures of a bundle, which nobody has checked; none if it has no such file.

    Raises SchemaError for a file of another form, IntegrityError for a link out of the bundle.
    """
    path = directory / SIGNATURES
    if not os.path.lexists(path):
        return ()
    check_place(path)
    return SCHEMA.read(path, _signatures)


def write_signature(directory: Path, digest: str, key: Ed25519PrivateKey, version: int | None) -> Signature:
    """Sign a bundle, in place of an earlier signature by the same key; raise InputError for a version that is none.

    Raises SchemaError if there are signatures of another form, StorageError if the file cannot be written.
    """
    if version is not None:
        check_version(version)
    name = name_of(key.public_key())
    new = Signature(name, version, key.sign(message_of(digest, version)).hex())
    others = [found for found in read_signatures(directory) if found.key != name]
    if len(others) >= MOST_SIGNATURES:
        raise SchemaError(f"{directory / SIGNATURES}: expected at most {MOST_SIGNATURES} signatures; {SCHEMA.advice}")
    _write(directory, [*others, new])
    return new


def carry_signatures(source: Path, target: Path) -> None:
    """Write the signatures of one bundle, if any, into the directory of another form of the same."""
    found = read_signatures(source)
    if found:
        _write(target, found)


def _write(directory: Path, signatures: Iterable[Signature]) -> None:
    fields = {"schema_version": SCHEMA.version, "signatures": [vars(signature) for signature in signatures]}
    replace_file(directory / SIGNATURES, (json.dumps(fields, indent=1) + "\n").encode())


def _signatures(fields: dict[str, Any]) -> tuple[Signature, ...]:
    found = tuple(Signature(**each) for each in fields["signatures"])
    if len(found) > MOST_SIGNATURES or len({each.key for each in found}) < len(found):
        raise ValueError(f"expected at most {MOST_SIGNATURES} signatures, each by another key")
    return found
