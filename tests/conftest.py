"""What tests of several folders use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_bundle() -> Path:
    """The committed bundle: 4 layers, 12 subnets, fp32 and int8. Not to be written to."""
    return Path(__file__).parent / "data" / "tiny.gearshift"


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keeps what engines cache out of the user's own directory."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("cache")
        patch.setenv("GEARSHIFT_CACHE_DIR", str(directory))
        yield directory
