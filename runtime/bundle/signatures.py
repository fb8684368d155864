"""Signatures of a bundle, in a file beside its manifest: who vouches for it, and as which version.

    {
     "schema_version": 2,
     "signatures": [
      {"key": "public key, 64 digits", "version": 3, "signature": "128 digits", "name": "name of the product"}
     ]
    }

Ed25519 over DOMAIN, the manifest's digest (32 bytes) and the version (8 bytes, 0 for none). A signature with a name is
over NAMED_DOMAIN, these, and the name in UTF-8. A file without names has schema version 1, as all had before there were
names. The manifest does not list this file, so that a bundle can be signed after it was made, by several keys, and
keeps its hash.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gearshift.errors import InputError, IntegrityError, SchemaError
from gearshift.number_checks import is_whole
from gearshift.runtime.bundle.integrity import check_place
from gearshift.runtime.bundle.keys import name_of
from gearshift.runtime.files.atomic import replace_file
from gearshift.schema import FIELD, Schema

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURES = "signatures.json"

DOMAIN = b"gearshift bundle v1\0"
"""Beginning of all that is signed: a signature for another purpose is none here."""

NAMED_DOMAIN = b"gearshift bundle v2\0"
"""Beginning of what is signed with a name, so that no signature with a name is one without, nor the reverse."""

LONGEST_NAME = 100
"""Characters of the longest name."""

LARGEST_VERSION = (1 << 63) - 1

MOST_SIGNATURES = 64

WITHOUT_NAMES = 1
"""Version of the schema that has no names, which older releases read."""

SCHEMA = Schema(
    version=2,
    oldest=WITHOUT_NAMES,
    advice=f"remove {SIGNATURES}, and have the bundle signed again",
    most_bytes=MOST_SIGNATURES << 10,
)

logger = logging.getLogger(__name__)

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
    name: str | None = None
    """Name of the product that the bundle is a version of; None: the name in its manifest."""

    def __post_init__(self) -> None:
        for name, form in (("key", _KEY), ("signature", _SIGNATURE)):
            value = getattr(self, name)
            if not isinstance(value, str) or not form.fullmatch(value):
                raise InputError(f"{name} of a signature: expected hexadecimal digits, found {value!r:.80}")
        if self.version is not None:
            check_version(self.version)
        if self.name is not None:
            check_product(self.name)

    @property
    def shown_version(self) -> str:
        """Version in words, with the name of the product if it was signed."""
        version = "no version" if self.version is None else f"version {self.version}"
        return version if self.name is None else f"{version} of {self.name}"

    def product(self, name: str) -> str:
        """Return the name of the product that a bundle with this name in its manifest is a version of."""
        return name if self.name is None else self.name

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON; a name only if there is one."""
        return {name: value for name, value in vars(self).items() if name != "name" or value is not None}


def check_version(version: object) -> None:
    """Raise InputError for anything but a whole number from 1 to LARGEST_VERSION."""
    if not is_whole(version, 1, LARGEST_VERSION):
        raise InputError(f"version: expected a whole number from 1 to {LARGEST_VERSION}, got {version!r:.40}")


def check_product(name: object) -> None:
    """Raise InputError for what is no name of a product: one that a terminal shows as it is, and that looks like no
    other one with blanks around it."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise InputError(
            f"name: expected 1 to {LONGEST_NAME} printable characters without blanks around them, got {name!r:.40}"
        )


def message_of(digest: str, version: int | None, name: str | None = None) -> bytes:
    """Return the bytes that are signed for a manifest's digest, a version and the name of a product."""
    numbers = bytes.fromhex(digest) + (version or 0).to_bytes(8, "big")
    return DOMAIN + numbers if name is None else NAMED_DOMAIN + numbers + name.encode()


def read_signatures(directory: Path) -> tuple[Signature, ...]:
    """Return the signatures of a bundle, which nobody has checked; none if it has no such file.

    Raises SchemaError for a file of another form, IntegrityError for a link out of the bundle.
    """
    path = directory / SIGNATURES
    if not os.path.lexists(path):
        return ()
    check_place(path)
    return SCHEMA.read(path, _signatures)


def readable_signatures(directory: Path) -> tuple[tuple[Signature, ...], str | None]:
    """Return the signatures of a bundle as `read_signatures` does, and None; if they cannot be read, none and why.

    For work that needs no signature: a bundle does not become useless by what lies beside it.
    """
    try:
        return read_signatures(directory), None
    except (IntegrityError, SchemaError) as error:
        return (), str(error)


def write_signature(
    directory: Path, digest: str, key: Ed25519PrivateKey, version: int | None, product: str | None = None
) -> Signature:
    """Sign a bundle, in place of an earlier signature by the same key; raise InputError for a version or a name of a
    product that is none.

    Raises SchemaError if there are signatures of another form, StorageError if the file cannot be written.
    """
    if version is not None:
        check_version(version)
    if product is not None:
        check_product(product)
    name = name_of(key.public_key())
    new = Signature(name, version, key.sign(message_of(digest, version, product)).hex(), product)
    others = [found for found in read_signatures(directory) if found.key != name]
    if len(others) >= MOST_SIGNATURES:
        raise SchemaError(f"{directory / SIGNATURES}: expected at most {MOST_SIGNATURES} signatures; {SCHEMA.advice}")
    _write(directory, [*others, new])
    return new


def carry_signatures(source: Path, target: Path) -> None:
    """Write the signatures of one bundle, if any, into the directory of another form of the same; without those that
    cannot be read, which the log says."""
    found, unreadable = readable_signatures(source)
    if unreadable is not None:
        logger.warning("signatures are left out, since they cannot be read: %s", unreadable)
    if found:
        _write(target, found)


def _write(directory: Path, signatures: Sequence[Signature]) -> None:
    named = any(signature.name is not None for signature in signatures)
    fields = {
        FIELD: SCHEMA.version if named else WITHOUT_NAMES,
        "signatures": [signature.to_dict() for signature in signatures],
    }
    replace_file(directory / SIGNATURES, (json.dumps(fields, indent=1, ensure_ascii=False) + "\n").encode())


def _signatures(fields: dict[str, Any]) -> tuple[Signature, ...]:
    found = tuple(Signature(**each) for each in fields["signatures"])
    if len(found) > MOST_SIGNATURES or len({each.key for each in found}) < len(found):
        raise ValueError(f"expected at most {MOST_SIGNATURES} signatures, each by another key")
    return found
