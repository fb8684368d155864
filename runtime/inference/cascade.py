"""A cascade: the DAN of a bundle answers where it is sure, everything else goes on to the subnets of the graph."""

from __future__ import annotations

import math

from gearshift.errors import InputError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.dan.model import Dan
from gearshift.runtime.inference.answers import probabilities
from gearshift.runtime.inference.executors import DanExecutor
from gearshift.runtime.inference.session import Outputs
from gearshift.runtime.inference.text import Encoded


class Cascade:
    """Decides by the probability of the DAN's label, from the threshold on that its calibration gives.

    Raises InputError where the bundle has no DAN, or one that held-out rows do not vouch for.
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
        """The DAN's logits of each text; None where it is not sure of every one, or knows no word of one."""
        found = []
        for parts in encoded.parts:
            logits, known = self._executor.logits(parts)
            if not known or float(probabilities(logits).max()) < self.threshold:
                return None
            found.append(logits)
        return found
