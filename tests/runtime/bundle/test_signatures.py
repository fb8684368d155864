"""Signatures beside a manifest, as files: nothing here needs the package that makes and verifies them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from gearshift.errors import BundleError, IntegrityError, MissingExtraError, SchemaError
from gearshift.runtime.bundle.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.bundle.compressed import COMPRESSED, open_compressed, unpack, write_compressed, write_listing
from gearshift.runtime.bundle.signatures import (
    DOMAIN,
    MOST_SIGNATURES,
    SIGNATURES,
    Signature,
    carry_signatures,
    message_of,
    read_signatures,
)
from gearshift.runtime.engine import Engine

PUBLIC = b"""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
"""
"""The first public key of the test vectors in RFC 8032."""

ONE: dict[str, Any] = {"key": "ab" * 32, "version": 3, "signature": "cd" * 64}


def put(directory: Path, *signatures: Any, version: int = 1) -> None:
    """Write signatures of any form into a bundle."""
    (directory / SIGNATURES).write_text(json.dumps({"schema_version": version, "signatures": list(signatures)}))


def test_what_is_signed_is_a_domain_the_digest_and_the_version() -> None:
    digest = "0123456789abcdef" * 4
    assert message_of(digest, 258) == DOMAIN + bytes.fromhex(digest) + b"\0\0\0\0\0\0\1\2"
    assert message_of(digest, None) == DOMAIN + bytes.fromhex(digest) + bytes(8)
    assert len({message_of(digest, version) for version in (None, 1, 2, 1 << 62)}) == 4


def test_with_a_name_another_domain_is_signed_and_the_name() -> None:
    digest = "0123456789abcdef" * 4
    wanted = b"gearshift bundle v2\0" + bytes.fromhex(digest) + bytes(7) + b"\3" + "Tür".encode()
    assert message_of(digest, 3, "Tür") == wanted


def test_names_come_back_and_a_file_without_them_is_one_that_older_releases_read(
    bundle_copy: Path, tmp_path: Path
) -> None:
    for signature in (ONE, {**ONE, "name": "lights"}):
        put(bundle_copy, signature, version=2)
        carry_signatures(bundle_copy, tmp_path)
        written = json.loads((tmp_path / SIGNATURES).read_bytes())
        assert written == {"schema_version": 2 if "name" in signature else 1, "signatures": [signature]}
        assert read_signatures(tmp_path) == (Signature(**signature),)


def test_an_unsigned_bundle_has_no_signatures_and_is_loaded(tiny_bundle: Path) -> None:
    assert read_signatures(tiny_bundle) == ()
    with Engine.load(tiny_bundle, threads=1, precision="fp32") as engine:
        assert engine.bundle.signature is None


def test_a_signature_is_read_unchecked_and_changes_neither_manifest_nor_hash(bundle_copy: Path, bundle: Bundle) -> None:
    put(bundle_copy, ONE, {**ONE, "key": "ef" * 32, "version": None})
    assert [(each.key[:2], each.shown_version) for each in read_signatures(bundle_copy)] == [
        ("ab", "version 3"),
        ("ef", "no version"),
    ]
    assert open_bundle(bundle_copy).hash == bundle.hash
    write_manifest(bundle_copy, bundle.manifest)
    assert open_bundle(bundle_copy).hash == bundle.hash  # signatures are not listed


@pytest.mark.parametrize(
    "signatures",
    [
        [{**ONE, "key": "AB" * 32}],
        [{**ONE, "key": "ab" * 31}],
        [{**ONE, "key": None}],
        [{**ONE, "signature": "cd" * 63}],
        [{**ONE, "signature": "\u0663" * 128}],
        [{**ONE, "version": 0}],
        [{**ONE, "version": True}],
        [{**ONE, "version": "3"}],
        [{**ONE, "version": 1 << 63}],
        [{**ONE, "more": 1}],
        [{**ONE, "name": ""}],
        [{**ONE, "name": "a\nb"}],
        [{**ONE, "name": "a "}],
        [{**ONE, "name": "x" * 101}],
        [{**ONE, "name": 3}],
        [{"key": ONE["key"]}],
        [ONE, ONE],
        [3],
        [{**ONE, "key": f"{number:064x}"} for number in range(MOST_SIGNATURES + 1)],
    ],
)
def test_signatures_of_another_form_are_refused_in_one_line(bundle_copy: Path, signatures: list[Any]) -> None:
    put(bundle_copy, *signatures)
    with pytest.raises(SchemaError, match=r"signatures\.json: .*remove signatures\.json, and have the") as caught:
        read_signatures(bundle_copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema_version": 1}', b"\xff"])
def test_a_file_that_is_none_of_signatures_is_refused(bundle_copy: Path, content: bytes) -> None:
    (bundle_copy / SIGNATURES).write_bytes(content)
    with pytest.raises(SchemaError, match=r"remove signatures\.json"):
        read_signatures(bundle_copy)


def test_signatures_of_a_newer_form_ask_for_a_newer_gearshift(bundle_copy: Path) -> None:
    put(bundle_copy, ONE, version=3)
    with pytest.raises(SchemaError, match="expected schema version 2, found 3; install a newer gearshift"):
        read_signatures(bundle_copy)


def test_signatures_larger_than_any_are_not_read(bundle_copy: Path) -> None:
    (bundle_copy / SIGNATURES).write_bytes(b" " * 100_000)
    with pytest.raises(SchemaError, match="expected at most 65,536 bytes"):
        read_signatures(bundle_copy)


def test_a_link_out_of_the_bundle_is_no_file_of_signatures(bundle_copy: Path, tmp_path: Path) -> None:
    put(tmp_path, ONE)
    (bundle_copy / SIGNATURES).symlink_to(tmp_path / SIGNATURES)
    with pytest.raises(IntegrityError, match="found a symbolic link"):
        read_signatures(bundle_copy)


def test_the_compressed_form_carries_signatures_and_so_does_what_is_unpacked(bundle_copy: Path, tmp_path: Path) -> None:
    put(bundle_copy, ONE)
    bundle, small = open_bundle(bundle_copy), tmp_path / "small"
    small.mkdir()
    write_compressed(bundle.path, bundle.manifest.files, small, {})
    assert SIGNATURES not in json.loads((small / COMPRESSED).read_bytes())["files"]
    assert read_signatures(small) == (Signature(**ONE),)
    unpack(open_compressed(small), tmp_path / "plain")
    assert read_signatures(tmp_path / "plain") == (Signature(**ONE),)


def test_a_compressed_bundle_can_be_signed_later(bundle: Bundle, tmp_path: Path) -> None:
    write_compressed(bundle.path, bundle.manifest.files, tmp_path, {})
    put(tmp_path, ONE)
    assert open_bundle(tmp_path).hash == bundle.hash
    write_listing(tmp_path)
    put(tmp_path)
    assert open_bundle(tmp_path).hash == bundle.hash


def blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `cryptography` a package that is not installed, also where it is."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)


def test_keys_without_the_package_are_an_error_and_nothing_is_loaded(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked(monkeypatch)
    with pytest.raises(MissingExtraError) as caught:
        Engine.load(tiny_bundle, keys=[PUBLIC])
    assert str(caught.value) == "this needs cryptography, which is not installed; run: pip install 'gearshift[sign]'"


class _Broken:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name.startswith("cryptography."):
            raise ImportError("libssl.so.3: cannot open\nshared object file")


def test_a_package_that_is_there_and_cannot_be_imported_is_told_as_such(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "cryptography").mkdir()
    (tmp_path / "cryptography" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [_Broken, *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"cannot be imported \(libssl\.so\.3: cannot open shared object"):
        Engine.load(tiny_bundle, keys=[PUBLIC])
    del sys.modules["cryptography"]


def test_a_bundle_is_loaded_without_the_package_where_no_keys_are_given(
    bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked(monkeypatch)
    put(bundle_copy, ONE)
    Engine.load(bundle_copy, threads=1, precision="fp32").close()


def test_a_damaged_file_of_signatures_concerns_nobody_who_asks_for_none(bundle_copy: Path, tmp_path: Path) -> None:
    (bundle_copy / SIGNATURES).write_text("{")
    Engine.load(bundle_copy, threads=1, precision="fp32").close()
    shutil.copytree(bundle_copy, tmp_path / "again")
    with pytest.raises(BundleError):
        read_signatures(tmp_path / "again")
