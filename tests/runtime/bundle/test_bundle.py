"""Bundles on disk: what is verified, and one line for everything that is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearshift.errors import BundleError, IntegrityError, SchemaError, UnknownSubnetError
from gearshift.runtime.bundle.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.bundle.integrity import check_name
from gearshift.runtime.bundle.manifest import MANIFEST, FileEntry, Manifest
from tests.runtime.altered import edit_manifest, set_field
from tests.runtime.bundle.test_manifest import GOLDEN, MANIFEST_VALUE


def test_the_manifest_is_written_byte_for_byte_as_version_2(tmp_path: Path) -> None:
    for name in ("fp32.onnx", "tokenizer.json", "selftest.npz"):
        (tmp_path / name).write_bytes(name.encode())
    write_manifest(tmp_path, MANIFEST_VALUE)
    assert (tmp_path / MANIFEST).read_bytes() == GOLDEN.read_bytes()


def test_the_tiny_bundle_opens(bundle: Bundle) -> None:
    assert bundle.precisions == ("fp32", "int8")
    for precision in bundle.precisions:
        assert len(bundle.pool(precision)) == 12
        for name, entry in bundle.pool(precision).items():
            assert bundle.entry(name, precision) is entry
            assert bundle.manifest.space.choice(entry.subnet) == entry.choice


def test_the_hash_names_the_contents(bundle_copy: Path, bundle: Bundle) -> None:
    assert open_bundle(bundle_copy).hash == bundle.hash
    edit_manifest(bundle_copy, lambda raw: raw.update(made_by="somebody else"))
    assert open_bundle(bundle_copy).hash != bundle.hash


def test_an_unknown_subnet_is_answered_with_the_names_there_are(bundle: Bundle) -> None:
    with pytest.raises(UnknownSubnetError, match=r"unknown subnet 'w999'; this bundle has .*w025-d050"):
        bundle.entry("w999", "fp32")


def test_an_unknown_precision_is_answered_with_those_there_are(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="no bf16 graph in this bundle; it has fp32, int8"):
        bundle.pool("bf16")


def test_a_path_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere: expected a bundle directory, found no such directory"):
        open_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"found no manifest\.json in it"):
        open_bundle(tmp_path)


def test_a_path_that_is_not_utf_8_is_refused_with_the_remedy(bundle_copy: Path) -> None:
    named = bundle_copy.rename(bundle_copy.with_name(os.fsdecode(b"caf\xe9.gearshift")))
    with pytest.raises(BundleError, match=r"caf\udce9\.gearshift: expected a path in UTF-8, since onnxruntime"):
        open_bundle(named)


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != MANIFEST)


def test_every_missing_file_is_named(bundle_copy: Path) -> None:
    for name in _names(bundle_copy):
        content = (bundle_copy / name).read_bytes()
        (bundle_copy / name).unlink()
        with pytest.raises(IntegrityError, match=f"{name}: missing; copy the bundle again"):
            open_bundle(bundle_copy)
        (bundle_copy / name).write_bytes(content)
    open_bundle(bundle_copy)


def test_every_truncated_file_is_named_with_both_sizes(bundle_copy: Path) -> None:
    for name in _names(bundle_copy):
        content = (bundle_copy / name).read_bytes()
        (bundle_copy / name).write_bytes(content[:-1])
        message = f"{name}: expected {len(content)} bytes, found {len(content) - 1}"
        with pytest.raises(IntegrityError, match=message):
            open_bundle(bundle_copy)
        (bundle_copy / name).write_bytes(content)


def test_one_flipped_bit_in_any_file_is_found(bundle_copy: Path) -> None:
    for name in _names(bundle_copy):
        content = (bundle_copy / name).read_bytes()
        middle = len(content) // 2
        (bundle_copy / name).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(IntegrityError, match=f"{name}: expected sha256 [0-9a-f]{{64}}, found [0-9a-f]{{64}}"):
            open_bundle(bundle_copy)
        (bundle_copy / name).write_bytes(content)


def test_a_link_out_of_the_bundle_is_refused(bundle_copy: Path, tmp_path: Path) -> None:
    (bundle_copy / "tokenizer.json").rename(tmp_path / "elsewhere.json")
    (bundle_copy / "tokenizer.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(IntegrityError, match=r"tokenizer\.json: expected a file, found a symbolic link"):
        open_bundle(bundle_copy)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "sub/", "a\0b", "a\nb"])
def test_a_name_outside_the_directory_is_refused(bundle_copy: Path, name: str) -> None:
    entry = {"bytes": 0, "sha256": ""}
    edit_manifest(bundle_copy, lambda raw: raw["files"].update({name: entry}))
    with pytest.raises(IntegrityError, match="expected a plain file name inside the bundle"):
        open_bundle(bundle_copy)


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="expected a plain file name inside the bundle"):
        check_name(tmp_path, "\ud800")


def test_another_schema_version_is_refused(bundle_copy: Path) -> None:
    edit_manifest(bundle_copy, set_field("schema_version", to=3))
    with pytest.raises(SchemaError, match="expected schema version 2, found 3; install a newer gearshift"):
        open_bundle(bundle_copy)


def test_a_field_of_another_form_is_a_schema_error_in_one_line(bundle_copy: Path) -> None:
    edit_manifest(bundle_copy, set_field("labels", to="yes"))
    with pytest.raises(SchemaError, match=r"not of schema version 2.*export the bundle again") as caught:
        open_bundle(bundle_copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1', b"[]", b"1", b"null", b'"text"'])
def test_a_file_that_is_no_manifest_is_an_integrity_error(bundle_copy: Path, content: bytes) -> None:
    (bundle_copy / MANIFEST).write_bytes(content)
    with pytest.raises(IntegrityError, match=r"manifest\.json: expected a manifest with its digest, found none; copy"):
        open_bundle(bundle_copy)


WRONG_REFERENCES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "empty pool": (set_field("pool", to=[]), "the pool is empty"),
    "unlisted tokenizer": (lambda raw: raw["files"].pop("tokenizer.json"), "does not list 'tokenizer.json'"),
    "unlisted self-test": (lambda raw: raw["files"].pop("selftest.npz"), "does not list 'selftest.npz'"),
    "unlisted graph": (set_field("pool", 0, "file", to="../other.onnx"), r"does not list '\.\./other\.onnx'"),
    "choice out of range": (set_field("pool", 0, "choice", to=[99, 0, 0, 0]), "got 99"),
    "choice of another length": (set_field("pool", 0, "choice", to=[0]), "integers, got 1"),
    "choice of another subnet": (
        lambda raw: raw["pool"][0].update(choice=raw["pool"][5]["choice"]),
        "makes another",
    ),
    "listed twice": (lambda raw: raw["pool"].append(raw["pool"][0]), r" at (fp32|int8) twice"),
}


@pytest.mark.parametrize("fault", WRONG_REFERENCES)
def test_a_pool_that_does_not_agree_with_the_rest_is_a_schema_error(bundle_copy: Path, fault: str) -> None:
    edit, message = WRONG_REFERENCES[fault]
    edit_manifest(bundle_copy, edit)
    with pytest.raises(SchemaError, match=message):
        open_bundle(bundle_copy)


def test_write_manifest_lists_every_other_file(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("a card")
    write_manifest(tmp_path, MANIFEST_VALUE)
    write_manifest(tmp_path, MANIFEST_VALUE)  # the manifest itself is not listed
    files = Manifest.from_content((tmp_path / MANIFEST).read_bytes(), tmp_path / MANIFEST).files
    assert list(files) == ["README.md"]
    assert files["README.md"] == FileEntry(6, files["README.md"].sha256)
