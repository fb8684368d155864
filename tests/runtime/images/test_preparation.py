"""Preparation of images: colours, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from gearshift.errors import InputError
from gearshift.runtime.images.preparation import Preparation


def test_colours_are_normalised_channels_first() -> None:
    preparation = Preparation(2, 3, mean=(0.5, 0.25, 0.0), deviation=(0.5, 0.25, 2.0))
    image = np.full((1, 2, 3, 3), (255, 0, 51), np.uint8)
    made = preparation.normalised(image)
    assert made.shape == (1, 3, 2, 3)
    assert made.dtype == np.float32
    assert np.allclose(made[0, :, 0, 0], (1, -1, 0.1))
    assert Preparation.from_dict(preparation.to_dict()) == preparation


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"height": 0}, "height of images: expected 1 to"),
        ({"shorter": 20}, "shorter side: expected 0, or no less"),
        ({"mean": (0.5, 0.5)}, "mean of images: expected three numbers"),
        ({"deviation": (0.5, 0.5, 0.0)}, "deviation of images: expected three numbers"),
    ],
)
def test_a_preparation_that_is_none_is_refused(fields: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Preparation(**fields)  # type: ignore[arg-type]
