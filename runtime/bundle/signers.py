"""Signers: the public keys of those whose bundles are accepted, and the newest version that was loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.errors import InputError, IntegrityError, SchemaError, SignatureError
from gearshift.runtime.bundle.keys import is_signed, read_public_keys, shown_key
from gearshift.runtime.bundle.signatures import SIGNATURES, Signature, message_of, read_signatures
from gearshift.runtime.files.seen_versions import SeenVersions

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Key = str | Path | bytes
"""File of a public key in PEM, or the PEM itself as bytes."""


@dataclass(frozen=True)
class Signers:
    """Accepted public keys; without any, every bundle is accepted, signed or not."""

    keys: Mapping[str, Ed25519PublicKey] = field(default_factory=dict)
    """Name -> public key."""
    not_older: bool = False
    """Whether a bundle that is older than the newest of its name that was loaded is refused."""
    seen: SeenVersions = field(default_factory=SeenVersions)

    @classmethod
    def of(cls, keys: Sequence[Key] | None, *, not_older: bool = False, cache: bool = True) -> Signers:
        """Read the keys of signers; None: whoever made it, a bundle is accepted.

        Raises InputError for what is no Ed25519 public key, for an empty list, or if versions are to be compared
        without keys or without a cache; MissingExtraError without `cryptography`.
        """
        if not isinstance(not_older, bool):
            raise InputError(f"not_older: expected True or False, got {not_older!r}")
        if not_older and (keys is None or not cache):
            raise InputError("not_older: expected keys, whose signatures have versions, and a cache to remember these")
        return cls() if keys is None else cls(read_public_keys(keys), not_older)

    def check(self, directory: Path, name: str, digest: str | None) -> Signature | None:
        """Return the signature that a bundle is accepted for, the one of the newest version; None without keys.

        `directory`: where its signatures are. `name`, `digest`: those of its manifest. Raises SignatureError, or
        StorageError if versions are to be compared and those seen cannot be read.
        """
        if not self.keys:
            return None
        try:
            found = read_signatures(directory)
        except (IntegrityError, SchemaError) as error:
            raise SignatureError(str(error)) from error
        ours = [each for each in found if each.key in self.keys]
        right = [each for each in ours if digest is not None and self._is_right(each, digest)]
        if not right:
            raise SignatureError(f"{directory}: {self._refusal(found, ours, digest)}")
        newest = max(right, key=lambda each: each.version or 0)
        if self.not_older:
            self._check_one_product(directory, {each.product(name) for each in right})
            self._check_not_older(directory, name, newest)
        return newest

    def remember(self, name: str, signature: Signature | None) -> None:
        """Remember the version of a bundle that was loaded; raise StorageError if it cannot be kept.

        `name`: that of its manifest, for a signature without one.
        It is remembered for the key that signed it, and binds all keys while that one is accepted: a key that was
        stolen could have signed the greatest version there is, and must not bind those that remain.
        """
        if self.not_older and signature is not None and signature.version is not None:
            self.seen.add(f"{signature.key} {signature.product(name)}", signature.version)

    def _is_right(self, signature: Signature, digest: str) -> bool:
        content = bytes.fromhex(signature.signature)
        return is_signed(self.keys[signature.key], content, message_of(digest, signature.version, signature.name))

    def _refusal(self, found: Sequence[Signature], ours: Sequence[Signature], digest: str | None) -> str:
        wanted = " or ".join(map(shown_key, self.keys))
        if digest is None:
            return f"expected a signature by {wanted}, found a bundle of a form that has none; have it exported again"
        if not found:
            return f"expected a signature by {wanted}, found no {SIGNATURES}; have it signed with `gearshift sign`"
        if not ours:
            others = ", ".join(shown_key(each.key) for each in found)
            return f"expected a signature by {wanted}, found those of {others}; do not use this bundle"
        wrong = ", ".join(shown_key(each.key) for each in ours)
        return f"the signature by {wrong} is not of this bundle, or was altered; copy the bundle again, with it"

    def _check_one_product(self, directory: Path, products: set[str]) -> None:
        """Raise SignatureError if keys sign different names: the version of one would say nothing about the other's."""
        if len(products) > 1:
            raise SignatureError(
                f"{directory}: expected one product in the signatures of the keys, found "
                f"{' and '.join(sorted(products))}; have it signed with one --name"
            )

    def _check_not_older(self, directory: Path, name: str, newest: Signature) -> None:
        if newest.version is None:
            raise SignatureError(
                f"{directory}: expected a signature with a version, found one without; have it signed with "
                "`gearshift sign --version N`"
            )
        product = newest.product(name)
        seen = max(self.seen.newest(f"{key} {product}") for key in self.keys)
        if newest.version < seen:
            raise SignatureError(
                f"{directory}: expected version {seen} of {product} or a newer one, found {newest.version}; take a "
                "newer one, or load it without not_older to go back on purpose"
            )


ANYBODY = Signers()
"""Signers without keys."""
