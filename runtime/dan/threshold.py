"""Where a DAN is sure enough to answer in place of the transformer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError, IntegrityError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class DanCalibration:
    """How sure a DAN was of held-out rows where it answered otherwise than the transformer."""

    rows: int
    """Held-out rows that both answered."""
    disagreements: Floats
    """Probability of the DAN's label on each row where the two differ, the highest first."""

    def __post_init__(self) -> None:
        sure = self.disagreements
        ordered = sure.ndim == 1 and len(sure) <= self.rows and bool(np.all(sure[:-1] >= sure[1:]))
        if not ordered or self.rows < 1:
            raise IntegrityError(f"calibration: expected falling probabilities of some of {self.rows} rows")

    def threshold(self, agreement: float) -> float:
        """The least probability from which on the DAN may answer; math.inf where it never may.

        Where it answers from there on and the transformer elsewhere, the answer is the transformer's own on a share
        `agreement` of texts like the held-out ones at least, in expectation: conformal risk control (Angelopoulos et
        al. 2022, equation 4) of the loss "the DAN answers, and differently". Raises InputError for no share.
        """
        if isinstance(agreement, bool) or not isinstance(agreement, int | float) or not 0 < agreement <= 1:
            raise InputError(f"cascade: expected an agreement above 0 and up to 1, such as .99, got {agreement!r}")
        allowed = math.floor((1 - agreement) * (self.rows + 1) - 1 + 1e-9)
        if allowed < 0:
            return math.inf
        if allowed >= len(self.disagreements):
            return 0.0
        return float(np.nextafter(self.disagreements[allowed], np.float32(2)))
