"""Thresholds of a cascade."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.errors import InputError, IntegrityError
from gearshift.runtime.dan.threshold import DanCalibration


def _of(rows: int, *sure: float) -> DanCalibration:
    return DanCalibration(rows, np.array(sure, np.float32))


@pytest.mark.parametrize(
    ("agreement", "answered_wrongly"), [(0.5, 3), (0.96, 3), (0.97, 2), (0.98, 1), (0.99, 0), (0.985, 0)]
)
def test_as_many_disagreements_are_answered_as_the_agreement_allows(agreement: float, answered_wrongly: int) -> None:
    calibration = _of(99, 0.9, 0.8, 0.7)
    threshold = calibration.threshold(agreement)
    assert int((calibration.disagreements >= threshold).sum()) == answered_wrongly


def test_too_few_rows_cannot_vouch_for_much() -> None:
    assert _of(98).threshold(0.99) == math.inf
    assert _of(99).threshold(0.99) == 0.0


def test_certainty_is_never_promised() -> None:
    assert _of(10**6).threshold(1) == math.inf


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_more_agreement_never_lowers_the_threshold(one: float, other: float) -> None:
    calibration = _of(400, 0.99, 0.9, 0.9, 0.6, 0.51)
    low, high = sorted((one, other))
    assert calibration.threshold(low) <= calibration.threshold(high)


def test_the_stated_agreement_holds_on_other_rows_on_average() -> None:
    """Rows whose probability is what it says: the share that differs among those that the DAN answers."""
    source = np.random.default_rng(0)
    differing = []
    for _ in range(400):
        sure = source.uniform(0.5, 1, (2, 300))
        differs = source.uniform(size=sure.shape) > sure
        threshold = _of(300, *sorted(sure[0][differs[0]], reverse=True)).threshold(0.95)
        differing.append(np.mean(differs[1] & (sure[1] >= threshold)))
    assert 0.04 < np.mean(differing) <= 0.051


@pytest.mark.parametrize("agreement", [0, 1.1, True, math.nan, "0.9"])
def test_what_is_no_agreement_is_refused(agreement: float) -> None:
    with pytest.raises(InputError, match="expected an agreement"):
        _of(100).threshold(agreement)


@pytest.mark.parametrize(("rows", "sure"), [(2, (0.5, 0.6)), (1, (0.6, 0.5)), (0, ())])
def test_a_calibration_that_cannot_be_is_said(rows: int, sure: tuple[float, ...]) -> None:
    with pytest.raises(IntegrityError, match="falling probabilities"):
        _of(rows, *sure)
