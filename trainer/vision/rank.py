"""Sort the channels of inner groups by the L1 norm of the filters that read them (Once-for-All, section 3.3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gearshift.trainer.vision.elastic import ConvolutionalNet
from gearshift.trainer.vision.generator_steps import input_axis, output_axis
from gearshift.trainer.vision.groups import is_dense
from gearshift.trainer.vision.net import WEIGHTED


@torch.no_grad()
def rank(model: ConvolutionalNet) -> None:
    """Put important channels first; no output of the full net changes but by rounding.

    The statistics of subnets are forgotten: they are those of other channels.
    """
    for number in range(len(model.shape.groups)):
        order = channel_importance(model, number).argsort(descending=True, stable=True)
        _reorder(model, number, order)
    model.statistics.clear()


def channel_importance(model: ConvolutionalNet, group: int) -> Tensor:
    """Return the L1 norm of all weights that read each channel of a group, (channels,)."""
    total = torch.zeros(model.shape.groups[group].channels, device=model.device)
    for step in model.net.steps:
        if is_dense(step) and model.elastic.source(step) == group:
            weight: Any = model.layers[step.name].weight
            kept = input_axis(step.kind)
            total += weight.abs().sum(dim=[axis for axis in range(weight.ndim) if axis != kept])
    return total


def _reorder(model: ConvolutionalNet, group: int, order: Tensor) -> None:
    for step in model.net.steps:
        if step.kind not in WEIGHTED:
            continue
        layer: Any = model.layers[step.name]
        if model.elastic.target(step) == group:
            for name in ("weight", "bias", "running_mean", "running_var"):
                tensor = getattr(layer, name, None)
                if tensor is not None:
                    axis = output_axis(step.kind) if name == "weight" else 0
                    tensor.data.copy_(tensor.index_select(axis, order))
        if model.elastic.source(step) == group and is_dense(step):
            layer.weight.data.copy_(layer.weight.index_select(input_axis(step.kind), order))
