"""Ed25519 keys of those who sign bundles, in PEM. The `cryptography` package is loaded when a key is read.

Public keys are named by their 32 bytes in hexadecimal.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.errors import InputError, MissingExtraError, StorageError, is_time_limit, one_line
from gearshift.extras import require
from gearshift.json_reader import read_limited

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PUBLIC_SUFFIX = ".pub"
"""Suffix of the public key's file beside that of a new private one."""

MOST_BYTES = 1 << 16
"""Bytes of the largest file of a key that is read."""

_BEGINNING = b"-----BEGIN "
"""Beginning of each block of PEM. A reader of the library takes the first that it knows, whatever follows."""

SHOWN = 16
"""Digits of a key that messages show."""


def shown_key(name: str) -> str:
    """Return a key as messages show it."""
    return f"key {name[:SHOWN]}"


def read_public_keys(keys: Sequence[str | Path | bytes]) -> dict[str, Ed25519PublicKey]:
    """Read public keys: files of PEM, or PEM itself as bytes; return name -> key.

    Raises InputError for what is no Ed25519 public key, or for none at all; MissingExtraError without `cryptography`.
    """
    if isinstance(keys, str | bytes | Path) or not isinstance(keys, Sequence) or not keys:
        raise InputError(f"keys: expected a list of public keys (files, or PEM as bytes), got {keys!r:.80}")
    return {name_of(key): key for key in map(_read_public_key, keys)}


def _read_public_key(source: str | Path | bytes) -> Ed25519PublicKey:
    place, content = ("keys", source) if isinstance(source, bytes) else (str(source), _content(source))
    _require_one(content, place)
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        found = "a private one, which its owner alone should have" if b"PRIVATE KEY" in content else "something else"
        raise InputError(f"{place}: expected an Ed25519 public key in PEM, found {found}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{place}: expected an Ed25519 public key, found one of another kind ({type(key).__name__})")
    return key


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key without a password from a file of PEM; raises as `read_public_keys` does."""
    content = _content(path)
    _require_one(content, path)
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(content, password=None)
    except TypeError as error:
        raise InputError(f"{path}: expected a private key without a password, found one with it") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path}: expected an Ed25519 private key in PEM, found something else; make one with `gearshift sign "
            "--new-key FILE`"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: expected an Ed25519 private key, found one of another kind ({type(key).__name__})")
    return key


def write_new_pair(path: Path) -> str:
    """Make a pair of keys: the private one in `path`, for this user alone, the public one beside it; return its name.

    Raises StorageError if one cannot be written or either file exists, since a key that is overwritten is lost, and
    MissingExtraError without `cryptography`.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, pem = Ed25519PrivateKey.generate(), serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    beside = path.with_name(path.name + PUBLIC_SUFFIX)
    for target in (path, beside):
        if os.path.lexists(target):
            raise StorageError(f"{target}: is there already, and a key is not overwritten; name another file")
    _write_new(beside, public, 0o644)
    _write_new(path, private, 0o600)
    return name_of(key.public_key())


def name_of(key: Ed25519PublicKey) -> str:
    """Return the name of a public key."""
    return key.public_bytes_raw().hex()


def is_signed(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    """Return whether a signature of a message was made with the private key that belongs to a public one."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _require_one(content: bytes, place: object) -> None:
    """Raise InputError for PEM of several keys: whoever put two there means both, or one of them, and not the first."""
    found = content.count(_BEGINNING)
    if found > 1:
        raise InputError(f"{place}: expected one key in PEM, found {found}; give each in a file of its own")


def _require_cryptography() -> None:
    """Raise MissingExtraError if the package is not installed, or cannot be imported here."""
    require("sign", "cryptography")
    try:
        import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    except ImportError as error:
        raise MissingExtraError(
            f"this needs cryptography, which cannot be imported ({one_line(error)}); run: pip install 'gearshift[sign]'"
        ) from error


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        if is_time_limit(error):
            raise
        raise StorageError(f"{path}: could not be written ({error.strerror or error}); name another file") from error


def _content(path: str | Path) -> bytes:
    try:
        return read_limited(Path(path), most=MOST_BYTES)
    except OSError as error:
        if is_time_limit(error):
            raise
        raise InputError(f"{path}: could not be read ({error.strerror or error}); expected a file of a key") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: could not be read ({error}); expected a file of a key") from error
