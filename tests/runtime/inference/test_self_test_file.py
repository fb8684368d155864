"""Self-tests that are cut off, empty, of another kind or larger than they say: a SchemaError, and little memory."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.errors import BundleError, SchemaError, SelfTestError
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.bundle.manifest import SELF_TEST
from gearshift.runtime.inference.self_test import check_dan, check_self_test
from gearshift.runtime.inference.session import ElasticSession
from tests.runtime.altered import add_dan, change_manifest, change_self_test
from tests.runtime.dans import made_dan

MOST_MEMORY = 8 << 20

LOGITS = "logits.fp32.w100-d100"


def said_of(directory: Path, content: bytes) -> str:
    """Words said of a self-test of this content."""
    (directory / SELF_TEST).write_bytes(content)
    change_manifest(directory)
    bundle = open_bundle(directory)
    session = ElasticSession(bundle, "fp32", threads=1)
    tracemalloc.start()
    try:
        with pytest.raises(SchemaError, match=r"selftest\.npz: not readable \(") as said:
            check_self_test(session, bundle)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
        session.close()
    assert "\n" not in str(said.value)
    return str(said.value)


def header(shape: tuple[Any, ...], dtype: str = "<i8", *, by_column: bool = False) -> bytes:
    """The start of an array's file."""
    text = repr({"descr": dtype, "fortran_order": by_column, "shape": shape}).ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def with_member(path: Path, name: str, content: bytes) -> bytes:
    """The self-test with another content of one array."""
    made = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for each in old.namelist():
            new.writestr(each, content if each == f"{name}.npy" else old.read(each))
    return made.getvalue()


CONTENTS: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda path: b"",
    "a text": lambda path: b"no archive",
    "an archive of nothing": lambda path: b"PK\x05\x06" + bytes(18),
    "an array": lambda path: header((1,)) + bytes(8),
    "a pickle": lambda path: b"\x80\x04N.",
    **{f"the first {size} bytes": lambda path, size=size: path.read_bytes()[:size] for size in (1, 100, 20_000)},  # type: ignore[misc]
    "all but the last byte": lambda path: path.read_bytes()[:-1],
    "8 TB claimed": lambda path: with_member(path, "input_ids", header((1 << 20, 1 << 20)) + bytes(8)),
    "8 TB of logits claimed": lambda path: with_member(path, LOGITS, header((1 << 20, 1 << 20), "<f4") + bytes(8)),
    "sizes whose product overflows": lambda path: with_member(path, "input_ids", header((1 << 62, 4)) + bytes(8)),
    "a negative size": lambda path: with_member(path, "input_ids", header((-1, 4)) + bytes(8)),
    "a size that is no number": lambda path: with_member(path, "input_ids", header(("a", 4)) + bytes(8)),
    "a size of true": lambda path: with_member(path, "input_ids", header((True, 4)) + bytes(32)),
    "a bomb": lambda path: with_member(path, "input_ids", header((4, 8)) + bytes(50 << 20)),
    "fewer values than its shape": lambda path: with_member(path, "input_ids", header((4, 8)) + bytes(8)),
    "objects": lambda path: with_member(path, "input_ids", header((4, 8), "|O") + bytes(256)),
    "numbers of 16 bytes": lambda path: with_member(path, "input_ids", header((4, 8), "<c16") + bytes(512)),
    "numbers of the other order": lambda path: with_member(path, "input_ids", header((4, 8), ">i8") + bytes(256)),
    "records": lambda path: with_member(path, "input_ids", header((4, 8), [("a", "<i8")]) + bytes(256)),  # type: ignore[arg-type]
    "by column": lambda path: with_member(path, "input_ids", header((4, 8), by_column=True) + bytes(256)),
    "no rows": lambda path: with_member(path, "input_ids", header((0, 8))),
    "one axis": lambda path: with_member(path, "input_ids", header((8,)) + bytes(64)),
    "another version": lambda path: with_member(path, "input_ids", b"\x93NUMPY\x09\x00" + bytes(200)),
    "a header that does not end": lambda path: with_member(
        path, "input_ids", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 9000
    ),
    "a header that nests": lambda path: with_member(
        path, "input_ids", b"\x93NUMPY\x01\x00\xd0\x07" + b"(" * 1000 + b")" * 1000 + bytes(64)
    ),
    "an empty array file": lambda path: with_member(path, "input_ids", b""),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_self_test_that_is_none_is_refused_in_one_line(bundle_copy: Path, name: str) -> None:
    said_of(bundle_copy, CONTENTS[name](bundle_copy / SELF_TEST))


def test_more_arrays_than_any_bundle_has_are_refused(bundle_copy: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number in range((1 << 12) + 1):
            archive.writestr(zipfile.ZipInfo(str(number)), b"")
    assert "at most 4096 arrays" in said_of(bundle_copy, made.getvalue())


def test_more_tokens_than_a_self_test_needs_are_refused(bundle_copy: Path) -> None:
    tokens = open_bundle(bundle_copy).manifest.max_length
    rows = (1 << 16) // tokens + 1
    content = with_member(bundle_copy / SELF_TEST, "input_ids", header((rows, tokens)) + bytes(8 * rows * tokens))
    assert "which was not expected" in said_of(bundle_copy, content)


def test_texts_of_no_tokens_are_refused(bundle_copy: Path) -> None:
    with np.load(bundle_copy / SELF_TEST) as arrays:
        shape = arrays["attention_mask"].shape
    content = with_member(bundle_copy / SELF_TEST, "attention_mask", header(shape) + bytes(8 * shape[0] * shape[1]))
    assert "no tokens" in said_of(bundle_copy, content)


def test_ids_that_the_graph_does_not_know_are_one_line(bundle_copy: Path) -> None:
    with np.load(bundle_copy / SELF_TEST) as arrays:
        ids = np.full_like(arrays["input_ids"], 10**9)
    content = with_member(bundle_copy / SELF_TEST, "input_ids", header(ids.shape) + ids.tobytes())
    (bundle_copy / SELF_TEST).write_bytes(content)
    change_manifest(bundle_copy)
    bundle = open_bundle(bundle_copy)
    with pytest.raises(BundleError, match="onnxruntime could not run it") as said:
        check_self_test(ElasticSession(bundle, "fp32", threads=1), bundle)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("value", [3e38, np.inf, np.nan])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_numbers_whose_sum_overflows_fail_without_a_warning(bundle_copy: Path, precision: str, value: float) -> None:
    """Found by `make fuzz`, in weights: the sum had warned before the error."""
    change_self_test(
        bundle_copy, lambda name, array: np.full_like(array, value) if name.startswith("logits") else array
    )
    bundle = open_bundle(bundle_copy)
    with pytest.raises(SelfTestError, match=f"{precision} self-test"):
        check_self_test(ElasticSession(bundle, precision, threads=1), bundle)


DAN_TEXTS: dict[str, bytes] = {
    "numbers": header((2, 1)) + bytes(16),
    "4 TB of texts claimed": header((1, 1), f"<U{1 << 40}") + bytes(8),
    "no texts": header((0, 1), "<U4"),
    "three texts a row": header((1, 3), "<U1") + bytes(12),
    "numbers that are no characters": header((1, 1), "<U1") + b"\xff\xff\xff\x7f",
    "half a character": header((1, 1), "<U1") + b"\x00\xd8\x00\x00",
}


@pytest.mark.parametrize("name", DAN_TEXTS)
def test_texts_of_a_dan_that_are_none_are_refused_in_one_line(bundle_copy: Path, name: str) -> None:
    add_dan(bundle_copy, made_dan(30), ["turn the lights off", "lights"], accuracy=0.5)
    content = with_member(bundle_copy / SELF_TEST, "texts.int8.dan", DAN_TEXTS[name])
    (bundle_copy / SELF_TEST).write_bytes(content)
    change_manifest(bundle_copy)
    with pytest.raises(SchemaError, match=r"selftest\.npz: no self-test of dan \(") as said:
        check_dan(open_bundle(bundle_copy))
    assert "\n" not in str(said.value)
