"""Threshold of confidence from which on a DAN answers in place of the transformer (selective prediction)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError, IntegrityError
from gearshift.number_checks import is_finite

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class DanCalibration:
    """Confidence of a DAN on the held-out rows on which it disagreed with the transformer."""

    rows: int
    """Number of held-out rows that both answered."""
    disagreements: Floats
    """Probability of the DAN's label on each row on which the two disagree, the highest first."""

    def __post_init__(self) -> None:
        sure = self.disagreements
        ordered = sure.ndim == 1 and len(sure) <= self.rows and bool(np.all(sure[:-1] >= sure[1:]))
        if not ordered or self.rows < 1:
            raise IntegrityError(f"calibration: expected falling probabilities, at most one a row of {self.rows}")

    def threshold(self, agreement: float) -> float:
        """Return the least probability from which on the DAN may answer; math.inf if it never may.

        If the DAN answers from there on and the transformer elsewhere, then, in expectation, at least a share
        `agreement` of texts like the held-out ones get the transformer's own answer: conformal risk control
        (Angelopoulos et al. 2022, equation 4) of the loss "the DAN answers, and differently". Raises InputError unless
        0 < agreement <= 1.
        """
        if not (is_finite(agreement) and 0 < agreement <= 1):
            raise InputError(f"cascade: expected an agreement above 0 and up to 1, such as .99, got {agreement!r}")
        allowed = math.floor((1 - agreement) * (self.rows + 1) - 1 + 1e-9)
        if allowed < 0:
            return math.inf
        if allowed >= len(self.disagreements):
            return 0.0
        return float(np.nextafter(self.disagreements[allowed], np.float32(2)))
