"""Tests of which versions of transformers are tried."""

from __future__ import annotations

from gearshift.extras import requirements
from tests.versions.prepare import ends


def test_the_ends_are_those_of_the_extra() -> None:
    assert ends(requirements("train")["transformers"]) == {
        "oldest": "transformers==4.48",
        "newest": "transformers<5.20",
    }
    assert ends("<6,>=4.50.1")["oldest"] == "transformers==4.50.1"
