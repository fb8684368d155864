"""Signed bundles that somebody without the key changed, all hashes and the digest made right again.

Keys are asked for. Right is a clear error, or unchanged answers and meaning, never others: no hand but the signer's can
make a bundle that is accepted.
"""

from __future__ import annotations

import random
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.bundle.manifest import MANIFEST
from gearshift.runtime.bundle.signatures import SIGNATURES, write_signature
from gearshift.runtime.bundle.signers import Signers
from tests.fuzz import answers
from tests.fuzz.answers import BUNDLE, copy_bundle, mend, mended, own, replace
from tests.fuzz.kinds.altered_bytes import alter_file, altered
from tests.fuzz.kinds.json_values import changed_json
from tests.fuzz.kinds.manifest import changed
from tests.fuzz.outcome import Kind

CASE = "case.gearshift"
PUBLIC = "key.pub"


def prepare(base: Path) -> None:
    answers.prepare(base)
    sign(base / BUNDLE, key(1), 3, "lights")
    pem = key(1).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (base / PUBLIC).write_bytes(pem)


def key(number: int) -> Ed25519PrivateKey:
    """Return a private key, the same at every run."""
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def sign(directory: Path, by: Ed25519PrivateKey, version: int | None, product: str | None = None) -> None:
    digest = open_bundle(directory).digest
    assert digest is not None
    write_signature(directory, digest, by, version, product)


def make(base: Path, case: Path, source: random.Random) -> bool:
    directory = case / CASE
    copy_bundle(base / BUNDLE, directory)
    kind = source.random()
    if kind < 0.4:
        path = directory / SIGNATURES
        change = source.choice((altered, changed_json))
        replace(path, change(path.read_bytes(), source))
    elif kind < 0.6:
        path = directory / MANIFEST
        replace(path, mended(changed(path.read_bytes(), source)))
    elif kind < 0.8:
        path = directory / source.choice(("int8.weights", "fp32.onnx", "tokenizer.json", "README.md"))
        replace(path, altered(path.read_bytes(), source))
        mend(directory)
    elif kind < 0.9:
        resign(directory, source)
    else:
        alter_file(source.choice(sorted(directory.iterdir())), source, sorted(directory.iterdir()))
    return False


def resign(directory: Path, source: random.Random) -> None:
    """Sign a changed bundle with another key, beside the signature that was there, or in its place."""
    path = directory / MANIFEST
    replace(path, mended(path.read_bytes().replace(b'"name": "', b'"name": "x', 1)))
    own(directory / SIGNATURES)
    if source.random() < 0.5:
        (directory / SIGNATURES).unlink()
    sign(directory, key(2), source.choice((None, 1, 9)))


def used(base: Path, case: Path) -> bool:
    signers = Signers.of([base / PUBLIC])
    bundle = open_bundle(case / CASE, signers=signers)
    found = answers.answers_of(bundle, ["int8"])
    return answers.are_recorded(base, found) and answers.has_meaning(base, bundle)


KINDS = (Kind("signatures", make, used, prepare, weight=8),)
