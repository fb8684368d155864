"""A sample of the fuzzers' cases with seeds that are set: each is refused in one line, or answered."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.bundles import FAILURES, Outcome, attempt, changed
from tests.fuzz.kinds import KINDS, TINY

CASES = 40


@pytest.mark.parametrize("name", KINDS)
def test_a_bundle_made_on_purpose_is_refused_in_one_line_or_answers(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    content = (TINY / kind.name).read_bytes()
    failed = []
    for seed in range(CASES):
        case = changed(TINY, tmp_path / "case.gearshift", kind.name, kind.change(content, random.Random(seed)))
        result = attempt(case)
        if result.outcome in FAILURES:
            failed.append((seed, result))
    assert not failed


def test_the_bundle_itself_answers(tmp_path: Path) -> None:
    whole = changed(TINY, tmp_path / "case.gearshift", "fp32.onnx", (TINY / "fp32.onnx").read_bytes())
    assert attempt(whole).outcome is Outcome.ANSWERED
