"""Boundaries between blocks of a teacher."""

from __future__ import annotations

import pytest

from gearshift.trainer.nasbert.teacher import boundaries_of


@pytest.mark.parametrize(
    ("layers", "block", "expected"), [(6, 2, (0, 2, 4, 6)), (6, 3, (0, 3, 6)), (5, 2, (0, 2, 4, 5)), (4, 9, (0, 4))]
)
def test_blocks_end_after_so_many_layers(layers: int, block: int, expected: tuple[int, ...]) -> None:
    assert boundaries_of(layers, block) == expected
