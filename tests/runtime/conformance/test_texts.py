"""Text vectors: what the runtime writes it finds again, and it finds every change."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearshift.errors import SchemaError, SelfTestError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.conformance.texts import (
    PAIRS,
    REFUSED,
    SINGLE,
    TEXTS,
    TextVector,
    check_text_vectors,
    make_text_vectors,
    output_error,
    refusals,
    same_answer,
    single_spreads,
    write_text_vectors,
)
from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.session import ElasticSession

Raw = dict[str, Any]


@pytest.fixture(scope="module")
def opened(bundle: Bundle) -> dict[str, Opened]:
    return {
        precision: Opened.of(bundle, ElasticSession(bundle, precision, threads=1)) for precision in bundle.precisions
    }


@pytest.fixture(scope="module")
def written(bundle: Bundle, opened: dict[str, Opened], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    vectors = make_text_vectors(opened, lambda what, done, planned: None)
    write_text_vectors(folder, bundle, vectors, refusals(opened["fp32"]))
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "vectors")


def read(folder: Path) -> Raw:
    raw: Raw = json.loads((folder / TEXTS).read_bytes())
    return raw


def test_what_is_written_is_found_again(written: Path, opened: dict[str, Opened]) -> None:
    assert check_text_vectors(written, opened) == len(read(written)["texts"])


def test_every_text_has_an_answer_of_every_subnet(written: Path, bundle: Bundle) -> None:
    raw = read(written)
    texts = [tuple(one["text"]) for one in raw["texts"]]
    assert {*((text,) for text in SINGLE), *PAIRS} <= set(texts)
    assert raw["digest"] == bundle.digest
    for one in raw["texts"]:
        assert {name: set(found) for name, found in one["precisions"].items()} == {
            precision: set(bundle.pool(precision)) for precision in bundle.precisions
        }
    assert any(one["truncated"] and len(one["text"]) == 2 for one in raw["texts"])
    assert [(one["kind"], one["value"]) for one in raw["refused"]] == list(REFUSED)


def first(raw: Raw) -> Raw:
    found: Raw = raw["texts"][0]["precisions"]["fp32"]["w100-d100"]
    return found


CHANGES: dict[str, Callable[[Raw], object]] = {
    "another token": lambda raw: raw["texts"][0]["ids"].__setitem__(1, 7),
    "another type": lambda raw: raw["texts"][0].update(types=[1] * len(raw["texts"][0]["ids"])),
    "another cut": lambda raw: raw["texts"][0].update(truncated=True),
    "another number": lambda raw: first(raw)["output"].__setitem__(3, first(raw)["output"][3] + 0.002),
    "a number less": lambda raw: first(raw)["output"].pop(),
    "not a number": lambda raw: first(raw)["output"].__setitem__(3, 1e300),
    "another label": lambda raw: first(raw)["answer"].update(label="weather"),
    "another score": lambda raw: first(raw)["answer"].update(score=first(raw)["answer"]["score"] - 0.002),
    "a score less": lambda raw: first(raw)["answer"]["scores"].pop("weather"),
    "a field less": lambda raw: first(raw)["answer"].pop("score"),
    "a subnet less": lambda raw: raw["texts"][0]["precisions"]["int8"].pop("w100-d100"),
    "a precision less": lambda raw: raw["texts"][0]["precisions"].pop("int8"),
    "other words": lambda raw: raw["refused"][0].update(message="no"),
    "another error": lambda raw: raw["refused"][-1].update(error="InputError"),
    "a refusal less": lambda raw: raw["refused"].pop(),
    "another bundle": lambda raw: raw.update(digest="0" * 64),
    "a text that is refused": lambda raw: raw["texts"][0].update(text=[" "]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_found(change: str, folder: Path, opened: dict[str, Opened]) -> None:
    raw = read(folder)
    CHANGES[change](raw)
    (folder / TEXTS).write_text(json.dumps(raw))
    with pytest.raises(SelfTestError, match=r"texts\.json: "):
        check_text_vectors(folder, opened)


def test_answers_of_int8_that_differ_in_more_than_one_of_ten_are_found(folder: Path, opened: dict[str, Opened]) -> None:
    raw = read(folder)
    for one in raw["texts"][:3]:
        for found in one["precisions"]["int8"].values():
            found["answer"]["label"] = "none"
    (folder / TEXTS).write_text(json.dumps(raw))
    with pytest.raises(SelfTestError, match="the same answer at int8 in 90%"):
        check_text_vectors(folder, opened)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 1, "digest": 3}', '{"schema_version": 2}'])
def test_another_file_is_refused(content: str, folder: Path, opened: dict[str, Opened]) -> None:
    (folder / TEXTS).write_text(content)
    with pytest.raises((SchemaError, SelfTestError)):
        check_text_vectors(folder, opened)


def test_tolerances_are_those_of_the_self_test() -> None:
    assert output_error([0.0, 1.0], [0.0005, 1.0], "fp32") == pytest.approx(0.5)
    assert output_error([-1.0, 1.0], [-0.5, 1.5], "int8") == pytest.approx(1.0)
    assert output_error([-1.0, 1.0], [-0.9, 1.1], "fp16") == pytest.approx(1.0)
    assert output_error([1.0], [1.0, 1.0], "int8") == float("inf")
    assert output_error([1.0], [1.5], "int8", spread=1.0) == pytest.approx(1.0)


def test_outputs_of_one_number_are_compared_with_the_spread_over_all_texts(written: Path) -> None:
    first = TextVector.from_dict(read(written)["texts"][0])
    made = [
        dataclasses.replace(first, outputs={"int8": {"one": {"output": [value]}, "two": {"output": [value, 0.0]}}})
        for value in (1.0, 3.0)
    ]
    assert single_spreads(made) == {("int8", "one"): 1.0}
    assert same_answer([{"a": 1.0, "b": "x"}], [{"a": 1.0005, "b": "x"}], 0.001)
    assert not same_answer([1, 2], [1], 0.001)
    assert not same_answer({"a": 1.0}, {"a": 1.0, "b": 2}, 0.001)
