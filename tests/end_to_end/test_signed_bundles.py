"""Signed bundles: made by `gearshift sign`, and loaded by engines that ask for a key."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gearshift.errors import (
    BundleError,
    GearshiftError,
    InputError,
    IntegrityError,
    SignatureError,
    StorageError,
)
from gearshift.runtime import Engine, open_bundle
from gearshift.runtime.bundle.compressed import write_compressed
from gearshift.runtime.bundle.keys import read_private_key, write_new_pair
from gearshift.runtime.bundle.manifest import MANIFEST
from gearshift.runtime.bundle.signatures import SIGNATURES, read_signatures, write_signature
from gearshift.runtime.bundle.signers import Key, Signers
from tests.runtime.altered import change_manifest


@dataclass(frozen=True)
class Pair:
    """Files of a pair of keys."""

    private: Path
    public: Path

    @classmethod
    def made(cls, path: Path) -> Pair:
        write_new_pair(path)
        return cls(path, path.with_name(f"{path.name}.pub"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair.made(tmp_path_factory.mktemp("keys") / "ours.pem")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair.made(tmp_path_factory.mktemp("keys") / "theirs.pem")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory for each test."""
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def sign(directory: Path, pair: Pair, version: int | None = None, product: str | None = None) -> Path:
    digest = open_bundle(directory).digest
    assert digest is not None
    write_signature(directory, digest, read_private_key(pair.private), version, product)
    return directory


def load(directory: Path, *keys: Key, **options: Any) -> Engine:
    return Engine.load(directory, threads=1, precision="fp32", keys=list(keys), **options)


def accepted(directory: Path, *keys: Key, **options: Any) -> bool:
    """Whether an engine takes a bundle; one that it refuses is refused in one line."""
    try:
        load(directory, *keys, **options).close()
    except SignatureError as error:
        assert "\n" not in str(error)
        return False
    return True


# Who signed it


def test_a_bundle_that_was_signed_by_the_key_answers(bundle_copy: Path, ours: Pair) -> None:
    before = open_bundle(bundle_copy).hash
    sign(bundle_copy, ours, 7)
    with load(bundle_copy, ours.public) as engine:
        assert engine.run("turn the lights off").label == "lights_off"
        assert engine.bundle.hash == before
        signature = engine.bundle.signature
    assert signature is not None
    assert signature.version == 7
    assert open_bundle(bundle_copy).signature is None  # nobody asked


def test_the_key_may_be_given_as_text_of_its_path_or_as_its_content(bundle_copy: Path, ours: Pair) -> None:
    sign(bundle_copy, ours)
    assert accepted(bundle_copy, str(ours.public))
    assert accepted(bundle_copy, ours.public.read_bytes())


def test_an_unsigned_bundle_is_refused(bundle_copy: Path, ours: Pair) -> None:
    with pytest.raises(SignatureError, match=r"expected a signature by key [0-9a-f]{16}, found no signatures\.json"):
        load(bundle_copy, ours.public)


def test_a_bundle_that_another_key_signed_is_refused(bundle_copy: Path, ours: Pair, theirs: Pair) -> None:
    sign(bundle_copy, theirs)
    with pytest.raises(SignatureError, match=r"expected a signature by key \S+, found those of key \S+; do not use"):
        load(bundle_copy, ours.public)


def test_one_of_several_keys_is_enough(bundle_copy: Path, ours: Pair, theirs: Pair) -> None:
    sign(bundle_copy, theirs)
    assert accepted(bundle_copy, ours.public, theirs.public)
    sign(bundle_copy, ours)
    assert len(read_signatures(bundle_copy)) == 2
    assert all(accepted(bundle_copy, key) for key in (ours.public, theirs.public))


def test_a_signature_of_another_bundle_is_refused(bundle_copy: Path, tmp_path: Path, ours: Pair) -> None:
    other = shutil.copytree(bundle_copy, tmp_path / "other")
    change_manifest(other, licence="another")
    sign(other, ours)
    shutil.copy(other / SIGNATURES, bundle_copy)
    with pytest.raises(SignatureError, match=r"the signature by key \S+ is not of this bundle, or was altered; copy"):
        load(bundle_copy, ours.public)


def test_a_manifest_that_was_altered_and_has_a_right_digest_is_not_what_was_signed(
    bundle_copy: Path, ours: Pair
) -> None:
    sign(bundle_copy, ours)
    change_manifest(bundle_copy, labels=tuple(reversed(open_bundle(bundle_copy).manifest.labels)))
    open_bundle(bundle_copy)
    with pytest.raises(SignatureError, match="is not of this bundle, or was altered"):
        load(bundle_copy, ours.public)


def test_an_altered_digest_is_refused(bundle_copy: Path, ours: Pair) -> None:
    sign(bundle_copy, ours)
    digest = str(open_bundle(bundle_copy).digest)
    content = (bundle_copy / MANIFEST).read_text()
    (bundle_copy / MANIFEST).write_text(content.replace(digest, digest[::-1]))
    with pytest.raises(IntegrityError, match=f"expected digest {digest[::-1]}, found {digest}"):
        load(bundle_copy, ours.public)


@pytest.mark.parametrize("product", [None, "lights"])
def test_every_altered_bit_of_a_signature_is_refused(bundle_copy: Path, ours: Pair, product: str | None) -> None:
    sign(bundle_copy, ours, 3, product)
    content, digest = (bundle_copy / SIGNATURES).read_bytes(), open_bundle(bundle_copy).digest
    name, signers = open_bundle(bundle_copy).manifest.name, Signers.of([ours.public])
    assert signers.check(bundle_copy, name, digest) is not None
    taken = []
    for bit in range(8 * len(content)):
        altered = content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]
        (bundle_copy / SIGNATURES).write_bytes(altered)
        try:
            signers.check(bundle_copy, name, digest)
        except BundleError as error:
            assert "\n" not in str(error)
        else:
            taken.append(altered)
    whole = json.loads(content)
    assert all(json.loads(altered) == whole for altered in taken)  # white space alone


def test_the_version_is_signed_too(bundle_copy: Path, ours: Pair) -> None:
    sign(bundle_copy, ours, 3)
    raw = json.loads((bundle_copy / SIGNATURES).read_bytes())
    for version in (4, None):
        raw["signatures"][0]["version"] = version
        (bundle_copy / SIGNATURES).write_text(json.dumps(raw))
        assert not accepted(bundle_copy, ours.public)


def test_the_name_of_the_product_is_signed_too(bundle_copy: Path, ours: Pair) -> None:
    for product, others in (("lights", ("Lights", None)), (None, ("lights", "tiny"))):
        sign(bundle_copy, ours, 3, product)
        raw = json.loads((bundle_copy / SIGNATURES).read_bytes())
        for other in others:
            raw["signatures"][0]["name"] = other
            (bundle_copy / SIGNATURES).write_text(json.dumps(raw))
            assert not accepted(bundle_copy, ours.public)


def test_the_name_of_our_key_on_a_signature_of_theirs_is_refused(bundle_copy: Path, ours: Pair, theirs: Pair) -> None:
    sign(bundle_copy, ours)
    name = read_signatures(bundle_copy)[0].key
    (bundle_copy / SIGNATURES).unlink()
    sign(bundle_copy, theirs)
    raw = json.loads((bundle_copy / SIGNATURES).read_bytes())
    raw["signatures"][0]["key"] = name
    (bundle_copy / SIGNATURES).write_text(json.dumps(raw))
    assert not accepted(bundle_copy, ours.public)


def test_signing_again_replaces_ones_own_signature(bundle_copy: Path, ours: Pair, theirs: Pair) -> None:
    for pair, version in ((ours, 1), (theirs, 5), (ours, 2)):
        sign(bundle_copy, pair, version)
    assert [each.version for each in read_signatures(bundle_copy)] == [5, 2]


def test_what_was_signed_is_refused_before_a_compressed_bundle_is_unpacked(
    bundle_copy: Path, tmp_path: Path, cache: Path, ours: Pair, theirs: Pair
) -> None:
    bundle, small = open_bundle(sign(bundle_copy, ours, 2)), tmp_path / "small"
    small.mkdir()
    write_compressed(bundle.path, bundle.manifest.files, small, {})
    assert not accepted(small, theirs.public)
    assert not (cache / "unpacked").exists()
    assert accepted(small, ours.public)


def test_a_bundle_without_a_digest_has_nothing_to_sign(bundle_copy: Path, ours: Pair) -> None:
    sign(bundle_copy, ours)
    raw = json.loads((bundle_copy / MANIFEST).read_bytes())
    del raw["digest"]
    (bundle_copy / MANIFEST).write_text(json.dumps({**raw, "schema_version": 1}))
    open_bundle(bundle_copy)
    with pytest.raises(SignatureError, match="found a bundle of a form that has none; have it exported again"):
        load(bundle_copy, ours.public)


def test_a_signed_bundle_needs_no_trial_and_another_one_does(
    bundle_copy: Path, ours: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")  # no process can be started
    sign(bundle_copy, ours)
    assert accepted(bundle_copy, ours.public, trust="tried")
    with pytest.raises(StorageError, match="could not be tried in a process of its own"):
        Engine.load(bundle_copy, threads=1, trust="tried")


# Keys


def test_no_keys_at_all_are_refused_as_such(tiny_bundle: Path) -> None:
    wrong: list[Any] = [[], (), "key.pem", b"key", Path("key.pem"), 3]
    for keys in wrong:
        with pytest.raises(InputError, match=r"^keys: expected a list of public keys"):
            Engine.load(tiny_bundle, keys=keys)


def _public(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found


def test_a_key_of_another_kind_is_refused_by_name(tiny_bundle: Path) -> None:
    for key in (generate_private_key(SECP256R1()), X25519PrivateKey.generate()):
        with pytest.raises(InputError, match="expected an Ed25519 public key, found one of another kind"):
            load(tiny_bundle, _public(key))


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_is_refused(tiny_bundle: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(InputError, match=r"key\.pem: expected an Ed25519 public key in PEM, found something else$"):
        load(tiny_bundle, tmp_path / "key.pem")
    with pytest.raises(InputError, match=r"^keys: expected an Ed25519 public key in PEM"):
        load(tiny_bundle, content)
    with pytest.raises(InputError, match=r"expected an Ed25519 private key in PEM, found something else; make one"):
        read_private_key(tmp_path / "key.pem")


def test_a_file_with_two_keys_is_refused_whichever_comes_first(
    bundle_copy: Path, tmp_path: Path, ours: Pair, theirs: Pair
) -> None:
    sign(bundle_copy, ours)
    both = tmp_path / "both.pem"
    for first, second in ((ours.public, theirs.public), (theirs.public, ours.public), (ours.public, ours.private)):
        both.write_bytes(first.read_bytes() + second.read_bytes())
        with pytest.raises(
            InputError, match=r"both\.pem: expected one key in PEM, found 2; give each in a file of its"
        ):
            load(bundle_copy, both)
        with pytest.raises(InputError, match=r"^keys: expected one key in PEM, found 2; give each in a file of its"):
            load(bundle_copy, both.read_bytes())
    both.write_bytes(ours.private.read_bytes() + theirs.private.read_bytes())
    with pytest.raises(InputError, match=r"both\.pem: expected one key in PEM, found 2"):
        read_private_key(both)


def test_a_key_that_is_not_there_is_named(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.pem: could not be read \(No such file"):
        load(tiny_bundle, tmp_path / "nowhere.pem")


def test_the_halves_of_a_pair_are_not_taken_for_each_other(tiny_bundle: Path, ours: Pair) -> None:
    with pytest.raises(InputError, match="found a private one, which its owner alone should have"):
        load(tiny_bundle, ours.private)
    with pytest.raises(InputError, match="expected an Ed25519 private key in PEM, found something else"):
        read_private_key(ours.public)


def test_private_keys_of_another_kind_or_with_a_password_are_refused(tmp_path: Path) -> None:
    path, pem, form = tmp_path / "key.pem", Encoding.PEM, PrivateFormat.PKCS8
    path.write_bytes(generate_private_key(SECP256R1()).private_bytes(pem, form, NoEncryption()))
    with pytest.raises(InputError, match="expected an Ed25519 private key, found one of another kind"):
        read_private_key(path)
    path.write_bytes(Ed25519PrivateKey.generate().private_bytes(pem, form, BestAvailableEncryption(b"secret")))
    with pytest.raises(InputError, match="expected a private key without a password, found one with it"):
        read_private_key(path)


# Versions


@pytest.fixture
def versions(tiny_bundle: Path, tmp_path: Path, ours: Pair) -> Callable[[int], Path]:
    """Bundles of one name that differ, each signed as another version."""

    def made(version: int) -> Path:
        target = tmp_path / f"version-{version}"
        if not target.exists():
            shutil.copytree(tiny_bundle, target)
            change_manifest(target, made_by=f"version {version}")
            sign(target, ours, version)
        return target

    return made


def test_a_version_older_than_the_newest_that_was_loaded_is_refused(
    versions: Callable[[int], Path], ours: Pair
) -> None:
    for version, taken in ((2, True), (3, True), (2, False), (3, True), (10, True), (9, False)):
        assert accepted(versions(version), ours.public, not_older=True) is taken, version
    with pytest.raises(SignatureError, match=r"expected version 10 of tiny or a newer one, found 2; take"):
        load(versions(2), ours.public, not_older=True)
    assert accepted(versions(2), ours.public)  # on purpose


def test_versions_are_remembered_only_where_that_was_asked_for(
    versions: Callable[[int], Path], ours: Pair, cache: Path
) -> None:
    load(versions(3), ours.public).close()
    assert not (cache / "seen").exists()
    assert accepted(versions(2), ours.public, not_older=True)


def test_another_bundle_has_versions_of_its_own(versions: Callable[[int], Path], tmp_path: Path, ours: Pair) -> None:
    assert accepted(versions(3), ours.public, not_older=True)
    other = shutil.copytree(versions(3), tmp_path / "other")
    change_manifest(other, name="another")
    assert accepted(sign(other, ours, 1), ours.public, not_older=True)


def test_releases_of_one_product_are_bound_whatever_directories_they_were_exported_to(
    tiny_bundle: Path, tmp_path: Path, ours: Pair
) -> None:
    made = {}
    for version in (2, 3):
        made[version] = shutil.copytree(tiny_bundle, tmp_path / f"lights-{version}")
        change_manifest(made[version], name=f"lights-{version}")
        sign(made[version], ours, version, "lights \u9ed2")
    assert accepted(made[3], ours.public, not_older=True)
    with pytest.raises(SignatureError, match="expected version 3 of lights \u9ed2 or a newer one, found 2; take"):
        load(made[2], ours.public, not_older=True)
    assert accepted(sign(made[2], ours, 2, "another"), ours.public, not_older=True)


def test_a_name_that_is_signed_binds_what_was_signed_before_under_the_name_in_the_manifest(
    versions: Callable[[int], Path], ours: Pair
) -> None:
    assert accepted(versions(3), ours.public, not_older=True)
    other = sign(versions(2), ours, 2, "tiny")
    change_manifest(other, name="renamed")
    assert not accepted(sign(other, ours, 2, "tiny"), ours.public, not_older=True)
    assert accepted(sign(other, ours, 4, "tiny"), ours.public, not_older=True)
    assert not accepted(versions(3), ours.public, not_older=True)


def test_a_second_key_does_not_bring_back_an_older_version(
    versions: Callable[[int], Path], ours: Pair, theirs: Pair
) -> None:
    sign(versions(2), theirs, 2)
    assert accepted(versions(3), ours.public, theirs.public, not_older=True)
    raw = json.loads((versions(2) / SIGNATURES).read_bytes())
    for kept in (slice(0, 1), slice(1, 2), slice(0, 2)):
        (versions(2) / SIGNATURES).write_text(json.dumps({**raw, "signatures": raw["signatures"][kept]}))
        assert not accepted(versions(2), ours.public, theirs.public, not_older=True)


def test_keys_that_sign_different_names_bind_nothing_and_are_refused(
    versions: Callable[[int], Path], ours: Pair, theirs: Pair
) -> None:
    assert accepted(versions(5), ours.public, theirs.public, not_older=True)
    sign(versions(2), theirs, 9, "another")
    with pytest.raises(
        SignatureError, match="expected one product in the signatures of the keys, found another and tiny"
    ):
        load(versions(2), ours.public, theirs.public, not_older=True)
    assert accepted(versions(2), ours.public, theirs.public)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"schema_version": 1, "signatures": [{}]}'])
def test_signatures_of_another_form_are_none(versions: Callable[[int], Path], ours: Pair, content: bytes) -> None:
    (versions(2) / SIGNATURES).write_bytes(content)
    with pytest.raises(SignatureError, match=f"{SIGNATURES}: ") as said:
        load(versions(2), ours.public)
    assert "\n" not in str(said.value)
    Engine.load(versions(2)).close()


def test_what_a_stolen_key_signed_no_longer_counts_without_it(
    versions: Callable[[int], Path], ours: Pair, theirs: Pair
) -> None:
    assert accepted(sign(versions(2), theirs, 2**63 - 1), ours.public, theirs.public, not_older=True)
    assert not accepted(versions(3), ours.public, theirs.public, not_older=True)
    assert accepted(versions(3), ours.public, not_older=True)
    assert not accepted(versions(2), ours.public, not_older=True)


def test_a_version_that_does_not_load_is_not_remembered(versions: Callable[[int], Path], ours: Pair) -> None:
    broken = versions(4)
    change_manifest(broken, minimum_onnxruntime="99")
    sign(broken, ours, 4)
    with pytest.raises(GearshiftError, match="needs onnxruntime 99"):
        load(broken, ours.public, not_older=True)
    assert accepted(versions(3), ours.public, not_older=True)


def test_a_signature_without_a_version_cannot_be_compared(bundle_copy: Path, ours: Pair) -> None:
    sign(bundle_copy, ours)
    with pytest.raises(SignatureError, match="expected a signature with a version, found one without"):
        load(bundle_copy, ours.public, not_older=True)


def test_not_older_asks_for_keys_and_for_a_cache(bundle_copy: Path, ours: Pair) -> None:
    with pytest.raises(InputError, match=r"^not_older: expected keys, whose signatures have versions, and a cache"):
        Engine.load(bundle_copy, not_older=True)
    with pytest.raises(InputError, match=r"^not_older: expected keys, whose signatures have versions, and a cache"):
        load(bundle_copy, ours.public, not_older=True, cache=False)
    with pytest.raises(InputError, match=r"^not_older: expected True or False, got 1"):
        load(bundle_copy, ours.public, not_older=1)


def test_a_memory_that_others_can_write_to_is_an_error(
    versions: Callable[[int], Path], ours: Pair, cache: Path
) -> None:
    load(versions(3), ours.public, not_older=True).close()
    (cache / "seen").chmod(0o777)
    with pytest.raises(StorageError, match="that this user alone can write to"):
        load(versions(2), ours.public, not_older=True)
