"""Statistics of a subnet's norms, taken anew on training images (Once-for-All; universally slimmable networks, 3.3)."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from gearshift.errors import DataError
from gearshift.runtime.space.convolutions import ConvolutionSubnet
from gearshift.trainer.data.images import ImageBatch
from gearshift.trainer.vision.elastic import ConvolutionalNet, Moments


@torch.no_grad()
def calibrate(model: ConvolutionalNet, subnets: Iterable[ConvolutionSubnet], batches: Iterable[ImageBatch]) -> None:
    """Take the statistics of each subnet: the mean over these batches of each one's means and variances."""
    listed = [batch.to(model.device) for batch in batches]
    if not listed:
        raise DataError("statistics: expected training images to take them on, got none")
    if not any(step.kind == "norm" for step in model.net.steps):
        return  # instance norms take their moments as they run
    was_training = model.training
    model.eval()
    for subnet in subnets:
        model.statistics[subnet] = _mean([model.observe(batch.pixels, subnet) for batch in listed])
    model.train(was_training)


def _mean(seen: list[dict[str, Moments]]) -> dict[str, Moments]:
    return {
        name: (
            torch.stack([each[name][0] for each in seen]).mean(0),
            torch.stack([each[name][1] for each in seen]).mean(0),
        )
        for name in seen[0]
    }
