"""What tests of several folders use."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_bundle() -> Path:
    """The committed bundle: 4 layers, 12 subnets, fp32 and int8. Not to be written to."""
    return Path(__file__).parent / "data" / "tiny.gearshift"
