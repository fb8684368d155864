"""Cascade: the DAN of a bundle answers if it is sure; every other request goes on to the subnets of the graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gearshift.errors import InputError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.answers import probabilities
from gearshift.runtime.inference.executors import DanExecutor
from gearshift.runtime.inference.session import Outputs
from gearshift.runtime.inference.text import Encoded

if TYPE_CHECKING:
    from gearshift.runtime.dan.model import Dan


class Cascade:
    """Cascade that accepts the DAN's answer if the probability of its label reaches the calibrated threshold.

    Raises InputError if the bundle has no DAN, or too few held-out rows to calibrate it for this agreement.
    """

    def __init__(self, bundle: Bundle, dan: Dan | None, agreement: float) -> None:
        if bundle.dan is None or dan is None:
            raise InputError(f"cascade: {bundle.path} has no DAN; export it with --dan, or load it without cascade")
        if dan.calibration is None:
            raise InputError(f"cascade: the DAN of {bundle.path} is not calibrated; export it with a dev split")
        self.name = bundle.dan.name
        self.threshold = dan.calibration.threshold(agreement)
        if self.threshold == math.inf:
            raise InputError(
                f"cascade: {dan.calibration.rows} held-out rows cannot vouch for an agreement of {agreement:g}; "
                f"expected at most {dan.calibration.rows / (dan.calibration.rows + 1):.4f}"
            )
        self._executor = DanExecutor(dan)

    def outputs(self, encoded: Encoded) -> Outputs | None:
        """Return the DAN's logits of each text; None unless it is sure of every text and knows some word of each."""
        found = []
        for parts in encoded.parts:
            logits, known = self._executor.logits(parts)
            if not known or float(probabilities(logits).max()) < self.threshold:
                return None
            found.append(logits)
        return found
