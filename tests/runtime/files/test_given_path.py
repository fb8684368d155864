"""Paths as callers give them: what is none, or too long for any file, is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearshift.errors import BundleError, GearshiftError, InputError
from gearshift.runtime import Engine, pipeline
from gearshift.runtime.files.given_path import named, path_of


def as_pipeline(name: Any) -> Any:
    return pipeline("text-classification", name)


WAYS: list[Callable[[Any], Any]] = [Engine.load, Engine.from_pretrained, as_pipeline]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", [None, 5, b"tiny", [], True], ids=repr)
def test_what_is_no_path_is_refused(way: Callable[[Any], Any], given: object) -> None:
    with pytest.raises(
        InputError, match=r"^expected the path of a bundle, as text or as a Path, got .*; name its directory$"
    ):
        way(given)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "given", ["a" * 5000, Path("b" * 300), "c/" * 3000, "d\0e", "\udcff"], ids=lambda one: str(one)[:3]
)
def test_a_path_that_no_file_can_have_is_one_short_line(way: Callable[[Any], Any], given: str | Path) -> None:
    with pytest.raises(GearshiftError) as error:
        way(given)
    assert isinstance(error.value, InputError | BundleError)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_a_path_is_taken_as_text_and_as_a_path() -> None:
    assert path_of("a/b") == path_of(Path("a/b")) == Path("a/b")
    assert named(Path("a/b")) == "a/b"
    assert named("a" * 255) == "a" * 255
    assert named("a" * 256) == f"'{'a' * 79}..."
