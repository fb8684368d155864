"""The tiny bundle, opened, and a small data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.demo.commands import generate, write
from gearshift.runtime import Bundle, open_bundle


@pytest.fixture(scope="session")
def bundle(tiny_bundle: Path) -> Bundle:
    """The committed bundle, opened."""
    return open_bundle(tiny_bundle)


@pytest.fixture
def small_data(tmp_path: Path) -> Path:
    """A few rows of the demo as a folder."""
    write(tmp_path / "data", generate(train=60, dev=30, test=30))
    return tmp_path / "data"
