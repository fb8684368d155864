"""Calibration of a DAN against a transformer."""

from __future__ import annotations

import numpy as np
import pytest

from gearshift.errors import DataError
from gearshift.export.dan import calibrated, temperature
from gearshift.runtime.dan.model import Dense, Floats, pack
from gearshift.runtime.dan.ngrams import keys

TEXTS = ["good film", "bad film", "good good", "a film"]


def _sampled(
    heat: float, *, rows: int = 4000, labels: int = 3
) -> tuple[Floats, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Logits, and classes that are drawn with the probabilities which logits / heat say."""
    source = np.random.default_rng(0)
    logits = (2 * source.normal(size=(rows, labels))).astype(np.float32)
    noise = source.gumbel(size=logits.shape)
    return logits, (logits / heat + noise).argmax(1)


@pytest.mark.parametrize("heat", [0.5, 1.0, 2.0, 5.0])
def test_the_temperature_is_that_which_the_classes_were_drawn_with(heat: float) -> None:
    assert temperature(*_sampled(heat)) == pytest.approx(heat, rel=0.1)


def test_answers_stay_and_disagreements_are_kept_with_their_probability() -> None:
    ngrams = keys("good bad film", 1)
    table = np.array([[2.0], [-2.0], [0.0]], np.float32)
    dense = Dense(
        np.array([[1.0], [-1.0]], np.float32),
        np.zeros(2, np.float32),
        np.eye(2, dtype=np.float32),
        np.zeros(2, np.float32),
    )
    dan = pack(ngrams, table, dense, precision="fp32", longest=1, paired=False)
    before = dan.run(TEXTS)
    transformer = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.float32)
    made = calibrated(dan, TEXTS, np.array([0, 1, 0, 0]), transformer)
    after = made.run(TEXTS)
    np.testing.assert_array_equal(after.argmax(1), before.argmax(1))
    assert made.calibration is not None and made.calibration.rows == 4
    sure = np.exp(after).max(1) / np.exp(after).sum(1)
    np.testing.assert_allclose(made.calibration.disagreements, sorted(sure[[1, 2]], reverse=True), rtol=1e-6)


def test_it_needs_rows() -> None:
    dan = pack(
        keys("film", 1),
        np.ones((1, 1), np.float32),
        Dense(None, np.zeros(1, np.float32), np.ones((2, 1), np.float32), np.zeros(2, np.float32)),
        precision="fp32",
        longest=1,
        paired=False,
    )
    with pytest.raises(DataError, match="held-out rows"):
        calibrated(dan, [], np.zeros(0, np.int64), np.zeros((0, 2), np.float32))
