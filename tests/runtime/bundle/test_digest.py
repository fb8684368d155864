"""The digest of a manifest: no bit of the file can change unseen."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from gearshift.errors import BundleError, IntegrityError
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.bundle.digest import stated_digest, with_digest
from gearshift.runtime.bundle.manifest import MANIFEST, Manifest
from gearshift.runtime.engine import Engine

SAMPLE = 40
"""Bits that are altered in a bundle that an engine loads, beside those of the first lines."""


def flipped(content: bytes, bit: int) -> bytes:
    return content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]


def test_no_bit_of_a_manifest_can_change_unseen(tiny_bundle: Path) -> None:
    content = (tiny_bundle / MANIFEST).read_bytes()
    accepted = []
    for bit in range(8 * len(content)):
        try:
            Manifest.from_content(flipped(content, bit), Path(MANIFEST))
        except IntegrityError as error:
            assert "\n" not in str(error)
            assert "copy the bundle again" in str(error)
        else:
            accepted.append(bit)
    assert accepted == []


def test_a_bundle_with_a_bit_of_its_manifest_altered_is_not_loaded(bundle_copy: Path) -> None:
    path = bundle_copy / MANIFEST
    content = path.read_bytes()
    end_of_digest = content.index(b'"name"')
    sample = random.Random(0).sample(range(8 * end_of_digest, 8 * len(content)), SAMPLE)
    for bit in (*range(0, 8 * end_of_digest, 7), *sample):
        path.write_bytes(flipped(content, bit))
        with pytest.raises(IntegrityError, match=r"manifest\.json: .*; copy the bundle again$"):
            Engine.load(bundle_copy)
    path.write_bytes(content)
    Engine.load(bundle_copy, threads=1, precision="fp32").close()


@pytest.mark.parametrize("bytes_", [0, 1, 40, 100, -1])
def test_a_manifest_that_was_cut_off_is_refused(tiny_bundle: Path, bytes_: int) -> None:
    content = (tiny_bundle / MANIFEST).read_bytes()
    with pytest.raises(IntegrityError, match="copy the bundle again"):
        Manifest.from_content(content[:bytes_], Path(MANIFEST))


def test_a_manifest_that_another_program_wrote_anew_is_refused(tiny_bundle: Path) -> None:
    content = json.dumps(json.loads((tiny_bundle / MANIFEST).read_bytes()))
    with pytest.raises(IntegrityError, match="expected a manifest with its digest, found none"):
        Manifest.from_content(content.encode(), Path(MANIFEST))


def as_first(content: bytes) -> bytes:
    """The manifest as version 1 had it, without a digest."""
    raw = json.loads(content)
    del raw["digest"]
    return json.dumps({**raw, "schema_version": 1}, indent=1).encode()


def test_a_bundle_that_was_made_before_there_were_digests_is_loaded(bundle_copy: Path) -> None:
    path = bundle_copy / MANIFEST
    path.write_bytes(as_first(path.read_bytes()))
    with Engine.load(bundle_copy, threads=1, precision="fp32") as engine:
        assert engine.bundle.digest is None
        assert engine.run("turn the lights off").label == "lights_off"


def test_no_other_version_and_no_other_name_of_the_digest_makes_a_bundle_an_old_one(tiny_bundle: Path) -> None:
    content = (tiny_bundle / MANIFEST).read_bytes()
    first = content.replace(b'"schema_version": 2', b'"schema_version": 1')
    for altered, said in (
        (first, "expected digest"),
        (content.replace(b'"digest"', b'"digesu"'), "expected a manifest with its digest, found none"),
        (first.replace(b'"digest"', b'"digesu"'), r"not of schema version 1 .*digesu"),
        (with_digest({**json.loads(content), "schema_version": 1}), "expected schema version 2, found 1"),
    ):
        with pytest.raises(BundleError, match=said):
            Manifest.from_content(altered, Path(MANIFEST))


def test_the_digest_is_that_of_the_file_with_zeros_in_its_place(tiny_bundle: Path) -> None:
    content = (tiny_bundle / MANIFEST).read_bytes()
    stated = json.loads(content)["digest"]
    zeros = content.replace(stated.encode(), b"0" * 64)
    assert stated_digest(content) == stated == hashlib.sha256(zeros).hexdigest()
    assert open_bundle(tiny_bundle).digest == stated
