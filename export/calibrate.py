"""Makes a DAN's probabilities what they say, and notes where it differs from the transformer beside it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.answers import probabilities
from gearshift.runtime.dan import Dan, Floats, Text
from gearshift.runtime.dan_calibration import DanCalibration
from gearshift.runtime.errors import DataError

SHARPEST, FLATTEST = 0.05, 20.0
"""Bounds of the temperature."""
HALVINGS = 50


def calibrated(dan: Dan, texts: Sequence[Text], classes: NDArray[np.int64], transformer: Floats) -> Dan:
    """The DAN with logits / temperature, and its `calibration` by the transformer's logits on the same texts.

    `classes` (texts,): the right ones. The texts must be held out of training; raises DataError where there are none.
    """
    if not len(texts):
        raise DataError("calibration: expected held-out rows, found none; pass a data set with a dev split")
    logits = dan.run(texts)
    heat = np.float32(temperature(logits, classes))
    dense = dataclasses.replace(
        dan.dense, output_weight=dan.dense.output_weight / heat, output_bias=dan.dense.output_bias / heat
    )
    sure = probabilities(logits / heat).max(1)
    differs = logits.argmax(1) != transformer.argmax(1)
    calibration = DanCalibration(len(texts), np.sort(sure[differs])[::-1].astype(np.float32))
    return dataclasses.replace(dan, dense=dense, calibration=calibration)


def temperature(logits: Floats, classes: NDArray[np.int64]) -> float:
    """What logits (rows, labels) are divided by for the least cross-entropy (Guo et al. 2017, section 4.2).

    The loss is convex in 1 / temperature, so that the sign of its slope says on which side the best one is.
    """
    low, high = math.log(1 / FLATTEST), math.log(1 / SHARPEST)
    right = logits[np.arange(len(logits)), classes]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        expected = (probabilities(logits * np.float32(math.exp(middle))) * logits).sum(1)
        if float((expected - right).mean()) > 0:
            high = middle
        else:
            low = middle
    return math.exp(-(low + high) / 2)
