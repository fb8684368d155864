"""The manifest: what it writes and reads, and one line for every field of another form."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from gearshift.errors import InputError, IntegrityError, SchemaError
from gearshift.runtime.bundle.digest import with_digest
from gearshift.runtime.bundle.manifest import MANIFEST, FileEntry, Manifest, PoolEntry, stored_manifest
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import layer_space
from gearshift.runtime.space.uniform import uniform_grid
from tests.runtime.altered import set_field

FIRST_GOLDEN = Path(__file__).parents[2] / "data" / "golden-manifest.json"
"""The manifest below as version 1 of the schema wrote it: reading it must work for ever."""

GOLDEN = FIRST_GOLDEN.with_name("golden-manifest-2.json")
"""The same as version 2 writes it, for ever too."""

SHAPE = EncoderShape(2, 8, 2, 16, 100, 32, 2)
GRID = uniform_grid(SHAPE, widths=(1.0, 0.5), depths=(1.0, 0.5))
SPACE = layer_space(SHAPE, list(GRID.values()))
MANIFEST_VALUE = Manifest(
    name="gölden",
    task="classification",
    metric="accuracy",
    labels=("no", "yes"),
    max_length=32,
    pad_id=0,
    inputs=("input_ids", "attention_mask"),
    space=SPACE,
    pool=tuple(
        PoolEntry(
            name=name,
            subnet=subnet,
            executor="elastic",
            file="fp32.onnx",
            choice=SPACE.choice(subnet),
            precision="fp32",
            accuracy=0.875,
            parameters=subnet.parameters(SHAPE),
            macs=subnet.macs(SHAPE, 16),
        )
        for name, subnet in GRID.items()
    ),
    macs_tokens=16,
    session_options={"graph_optimization_level": "disable"},
    minimum_onnxruntime="1.23",
    accuracy_rows=8,
    licence="Apache-2.0",
    made_by="gearshift 0.1.0",
    files={},
)


def read(raw: dict[str, Any]) -> Manifest:
    """The manifest of these values, with the digest that they have."""
    return Manifest.from_content(with_digest(raw), Path(MANIFEST))


@pytest.mark.parametrize("golden", [FIRST_GOLDEN, GOLDEN], ids=["version 1", "version 2"])
def test_the_golden_manifest_is_read_and_written_as_version_2(golden: Path) -> None:
    manifest = Manifest.from_content(golden.read_bytes(), golden)
    assert manifest.pool == MANIFEST_VALUE.pool
    assert manifest.space == SPACE
    assert manifest.to_content() == GOLDEN.read_bytes()


@pytest.mark.parametrize(("version", "hint"), [(3, "install a newer gearshift"), (0, "export the bundle again")])
def test_another_schema_version_is_refused(version: int, hint: str) -> None:
    raw = {**json.loads(GOLDEN.read_bytes()), "schema_version": version}
    with pytest.raises(SchemaError, match=f"expected schema version 2, found {version!r}; {hint}"):
        read(raw)


@pytest.mark.parametrize("version", ["1", "2", True, None, 2.0])
def test_a_version_of_another_form_is_taken_for_damage(version: object) -> None:
    raw = {**json.loads(GOLDEN.read_bytes()), "schema_version": version}
    with pytest.raises(IntegrityError, match="expected a manifest with its digest, found none; copy the bundle again"):
        read(raw)


WRONG_FIELDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown field": set_field("colour", to="red"),
    "missing field": lambda raw: raw.pop("labels"),
    "labels as one text": set_field("labels", to="yes"),
    "labels twice": set_field("labels", to=["a", "a"]),
    "no labels": set_field("labels", to=[]),
    "labels as numbers": set_field("labels", to=[1, 2]),
    "length as text": set_field("max_length", to="64"),
    "negative length": set_field("max_length", to=-1),
    "length beyond all": set_field("max_length", to=1 << 64),
    "padding beyond all": set_field("pad_id", to=1 << 63),
    "name as number": set_field("name", to=3),
    "unknown input": set_field("inputs", to=["input_ids", "pixels"]),
    "options as list": set_field("session_options", to=[]),
    "option as number": set_field("session_options", to={"a": 1}),
    "pool as number": set_field("pool", to=3),
    "entry without a name": lambda raw: raw["pool"][0].pop("name"),
    "accuracy above 1": set_field("pool", 0, "accuracy", to=1.5),
    "accuracy as text": set_field("pool", 0, "accuracy", to="0.9"),
    "accuracy on dev rows of one subnet alone": set_field("pool", 0, "dev_accuracy", to=0.5),
    "chosen by dev rows without an accuracy on them": lambda raw: raw.update(chosen_by="dev", dev_rows=5),
    "chosen by other rows": set_field("chosen_by", to="test"),
    "dev rows that choose nothing": set_field("dev_rows", to=5),
    "choice as text": set_field("pool", 0, "choice", to="0000"),
    "threshold of no answer for labels": lambda raw: [entry.update(null_threshold=1.5) for entry in raw["pool"]],
    "threshold of no answer as text": set_field("pool", 0, "null_threshold", to="1.5"),
    "subnet as number": set_field("pool", 0, "subnet", to=1),
    "subnet of odd layers": set_field("pool", 0, "subnet", to=[[1, 0]]),
    "stages as number": set_field("space", "stages", to=1),
    "shape without layers": lambda raw: raw["space"]["shape"].pop("layers"),
    "files as list": set_field("files", to=[]),
    "size as text": set_field("files", "tokenizer.json", "bytes", to="12"),
    "hash as number": set_field("files", "tokenizer.json", "sha256", to=12),
}


def questions(thresholds: list[float | None]) -> Manifest:
    """The golden manifest for question answering, with these thresholds of no answer."""
    pool = zip(MANIFEST_VALUE.pool, thresholds, strict=True)
    entries = tuple(dataclasses.replace(entry, null_threshold=threshold) for entry, threshold in pool)
    return dataclasses.replace(MANIFEST_VALUE, task="question-answering", labels=(), pool=entries)


def test_accuracies_on_dev_rows_are_written_where_there_are_any_and_choose() -> None:
    pool = tuple(dataclasses.replace(entry, dev_accuracy=0.75) for entry in MANIFEST_VALUE.pool)
    manifest = dataclasses.replace(MANIFEST_VALUE, pool=pool, chosen_by="dev", dev_rows=12)
    written = manifest.to_dict()
    assert (written["chosen_by"], written["dev_rows"], written["accuracy_rows"]) == ("dev", 12, 8)
    assert {(entry["accuracy"], entry["dev_accuracy"]) for entry in written["pool"]} == {(0.875, 0.75)}
    assert Manifest.from_content(manifest.to_content(), Path("manifest.json")) == manifest
    assert {entry.choosing_accuracy for entry in manifest.pool} == {0.75}
    assert {entry.choosing_accuracy for entry in MANIFEST_VALUE.pool} == {0.875}


@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan"), "0.5"])
def test_an_accuracy_on_dev_rows_is_a_share(wrong: object) -> None:
    with pytest.raises(InputError, match=r"dev_accuracy of \S+ \(a share from 0 to 1\): not usable"):
        dataclasses.replace(MANIFEST_VALUE.pool[0], dev_accuracy=wrong)  # type: ignore[arg-type]


def test_thresholds_of_no_answer_are_written_where_there_are_any() -> None:
    manifest = questions([-1.5, 0.0, 2, 1e3])
    written = manifest.to_dict()
    assert [entry["null_threshold"] for entry in written["pool"]] == [-1.5, 0, 2, 1e3]
    assert read(written) == manifest
    assert not any("null_threshold" in entry for entry in questions([None] * 4).to_dict()["pool"])


def test_either_every_subnet_knows_of_no_answer_or_none_does() -> None:
    with pytest.raises(InputError, match=r"^null_threshold \(of every subnet, for question answering, or of none\)"):
        questions([1.0, None, 1.0, 1.0])


@pytest.mark.parametrize("fault", WRONG_FIELDS)
def test_a_field_of_another_form_is_a_schema_error_in_one_line(fault: str) -> None:
    raw = json.loads(GOLDEN.read_bytes())
    WRONG_FIELDS[fault](raw)
    with pytest.raises(SchemaError, match=r"not of schema version 2.*export the bundle again") as caught:
        read(raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["accuracy", "null_threshold"])
def test_a_number_of_an_entry_is_not_nan(field: str) -> None:
    raw, nan = json.loads(GOLDEN.read_bytes()), cast(Any, {field: math.nan})
    raw["pool"][0][field] = math.nan
    with pytest.raises(IntegrityError, match="expected a number, found NaN"):
        read(raw)
    with pytest.raises(InputError, match=f"^{field} of .* not usable: nan$"):
        dataclasses.replace(MANIFEST_VALUE.pool[0], **nan)


@pytest.mark.parametrize(
    ("size", "digest", "message"),
    [(-1, "", "bytes of a file: not usable: -1"), (True, "", "bytes of a file"), (1, b"", "sha256 of a file")],
)
def test_a_manifest_with_an_unusable_field_cannot_be_made(size: Any, digest: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FileEntry(size, digest)


def test_half_a_character_is_no_text() -> None:
    """An author can escape it in JSON, and whatever is given the text then fails: a file, a terminal."""
    content = MANIFEST_VALUE.to_content()
    digest, zeros = json.loads(content)["digest"].encode(), b"0" * 64
    blank = content.replace("gölden".encode(), rb"g\ud800lden").replace(digest, zeros)
    content = blank.replace(zeros, hashlib.sha256(blank).hexdigest().encode(), 1)
    with pytest.raises(SchemaError, match=r"^here: .*expected whole characters, found '\\ud800'"):
        Manifest.from_content(content, Path("here"))


@pytest.mark.parametrize("bytes_", [(4 << 20) + 1, 20 << 30], ids=["4 MiB and one", "20 GiB"])
def test_a_manifest_larger_than_any_is_refused_unread(tmp_path: Path, bytes_: int) -> None:
    (tmp_path / MANIFEST).write_bytes(GOLDEN.read_bytes())
    with (tmp_path / MANIFEST).open("r+b") as file:
        file.truncate(bytes_)  # sparse
    with pytest.raises(SchemaError, match=rf"expected at most 4,194,304 bytes, found {bytes_:,}\); export"):
        stored_manifest(tmp_path)
