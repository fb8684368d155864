"""The tiny bundle in a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.session import ElasticSession


@pytest.fixture(scope="session")
def session(bundle: Bundle) -> Iterator[ElasticSession]:
    opened = ElasticSession(bundle, "fp32", threads=1)
    yield opened
    opened.close()
