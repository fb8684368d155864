"""The oracle of bundles: it sees other answers and another meaning, and believes what an author mended."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from gearshift.errors import IntegrityError
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.bundle.manifest import MANIFEST
from tests.fuzz.answers import (
    BUNDLE,
    answers_of,
    are_recorded,
    copy_bundle,
    has_meaning,
    mend,
    mended,
    prepare,
    replace,
    use,
)
from tests.runtime.kept import make_other


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    prepare(folder)
    return folder


def test_the_bundle_itself_has_its_answers_and_its_meaning(base: Path) -> None:
    assert use(base, base / BUNDLE)


def test_a_bundle_that_answers_otherwise_is_seen(base: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base / BUNDLE, tmp_path / "other"))
    make_other(other)
    assert not use(base, other, ["fp32"])
    assert not are_recorded(base, answers_of(open_bundle(other), ["fp32"]))
    assert are_recorded(base, answers_of(open_bundle(other), ["int8"]))


def test_a_label_of_another_name_is_another_answer_and_another_meaning(base: Path, tmp_path: Path) -> None:
    copy_bundle(base / BUNDLE, tmp_path / "case")
    raw = json.loads((tmp_path / "case" / MANIFEST).read_bytes())
    raw["labels"] = [label + "x" for label in raw["labels"]]
    replace(tmp_path / "case" / MANIFEST, mended(json.dumps(raw).encode()))
    bundle = open_bundle(tmp_path / "case")
    assert not are_recorded(base, answers_of(bundle, ["int8"]))
    assert not has_meaning(base, bundle)


def test_no_answers_are_not_those_recorded(base: Path) -> None:
    assert not are_recorded(base, {})


def test_a_logit_that_is_no_number_is_another_answer(base: Path) -> None:
    found = answers_of(open_bundle(base / BUNDLE), ["int8"])
    first = next(iter(found))
    found[first] = [found[first][0], [float("nan"), *found[first][1][1:]]]
    assert not are_recorded(base, found)


def test_a_case_is_opened_with_mended_hashes_and_refused_without(base: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"
    copy_bundle(base / BUNDLE, case)
    before = (base / BUNDLE / "int8.weights").read_bytes()
    replace(case / "int8.weights", np.zeros(len(before), np.uint8).tobytes())
    with pytest.raises(IntegrityError, match="expected sha256"):
        open_bundle(case)
    mend(case)
    assert open_bundle(case).manifest.files["int8.weights"].sha256 == hashlib.sha256(bytes(len(before))).hexdigest()
    assert (base / BUNDLE / "int8.weights").read_bytes() == before  # the link was replaced, not written to


def test_a_digest_is_that_of_the_file_with_zeros_in_its_place_behind_the_version() -> None:
    found = mended(json.dumps({"a": "0" * 64, "digest": "f" * 64, "schema_version": 2}).encode())
    (digest,) = re.findall(rb'\A\{\n "schema_version": 2,\n "digest": "([0-9a-f]{64})",\n', found)
    assert hashlib.sha256(found.replace(digest, b"0" * 64)).hexdigest().encode() == digest
    assert json.loads(found)["a"] == "0" * 64


@pytest.mark.parametrize("content", [b'{"a": 1}', b"[]", b"{", b"[" * 100_000])
def test_what_has_no_digest_stays_as_it_is(content: bytes) -> None:
    assert mended(content) == content
