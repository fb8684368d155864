"""Versions of packages."""

from __future__ import annotations

import pytest

from gearshift.versions import minimum, release_numbers


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("1.23", (1, 23)), ("1.23.2rc1", (1, 23, 2)), ("2.0.0+cpu", (2, 0, 0)), ("nightly", None), ("", None)],
)
def test_a_release_is_the_numbers_that_a_version_starts_with(version: str, numbers: tuple[int, ...] | None) -> None:
    assert release_numbers(version) == numbers


@pytest.mark.parametrize(("versions", "least"), [("<5.20,>=4.48", "4.48"), (">=2", "2"), ("<3", None), ("", None)])
def test_the_least_version_is_that_of_the_specifier(versions: str, least: str | None) -> None:
    assert minimum(versions) == least
