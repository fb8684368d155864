"""Positions against transformers' own: buckets, rotations and windows."""

import pytest
import torch
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from gearshift.runtime.space.shape import EncoderShape
from gearshift.trainer.model.encoder.positions import bucket_of, log_bucket_of, offsets_of, rotate, rotation_of, views

SHAPE = EncoderShape(
    layers=3,
    hidden=32,
    heads=4,
    neurons=16,
    vocabulary=9,
    positions=40,
    types=0,
    rotary=(100.0,) * 3,
    windows=(0, 2, 5),
)


def test_buckets_are_those_of_mpnet_at_every_offset() -> None:
    offsets = torch.arange(-600, 601)
    wanted = MPNetEncoder.relative_position_bucket(offsets, num_buckets=32)
    assert torch.equal(bucket_of(offsets, 32), wanted)
    assert set(wanted.tolist()) == set(range(32)) - {16}  # of 0 behind the query there is none


@pytest.mark.parametrize(("buckets", "farthest"), [(256, 512), (8, 32), (8, 20), (2, 3), (3, 40), (50, 4000)])
def test_buckets_are_those_of_deberta_at_every_distance(buckets: int, farthest: int) -> None:
    distances = torch.arange(-600, 601)
    wanted = make_log_bucket_position(distances, buckets, farthest).long() + buckets
    assert torch.equal(log_bucket_of(distances, buckets, farthest), wanted.clamp(0, 2 * buckets - 1))


def test_a_product_of_rotated_vectors_depends_on_the_offset_alone() -> None:
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    cosines, sines = (part.double() for part in rotation_of(100.0, 30, 8))

    def at(value: torch.Tensor, place: int) -> torch.Tensor:
        return rotate(value, (cosines[place], sines[place]))

    products = [float((at(query, place + 3) * at(key, place)).sum()) for place in range(20)]
    assert max(products) - min(products) < 1e-5
    assert abs(float((at(query, 4) * at(key, 0)).sum()) - products[0]) > 1e-3


def test_a_window_hides_what_is_further_away_and_no_token_sees_nothing() -> None:
    mask = torch.tensor([[1] * 9, [1] + [0] * 8])
    seen = [view.mask for view in views(SHAPE, None, None, mask)]
    assert seen[0].shape == (2, 1, 1, 9)
    for window, found in zip(SHAPE.windows[1:], seen[1:], strict=True):
        near = offsets_of(9).abs() <= window
        assert torch.equal(found[0, 0], near)
        assert torch.equal(found[1, 0], (near & mask[1].bool()) | torch.eye(9).bool())
        assert found.any(-1).all()
