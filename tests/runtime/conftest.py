"""The tiny bundle, opened or copied."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.inference.session import ElasticSession


@pytest.fixture(scope="session")
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may alter."""
    return shutil.copytree(tiny_bundle, tmp_path / "copy.gearshift")


@pytest.fixture(scope="session")
def session(bundle: Bundle) -> Iterator[ElasticSession]:
    opened = ElasticSession(bundle, "fp32", threads=1)
    yield opened
    opened.close()
