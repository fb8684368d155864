"""A smaller net with some channels of every layer, those of the trunk too: the largest by L1 norm (Li et al. 2017).

Values that a residual connection adds have the same channels, and keep the same ones. What is cut stays cut: the
subnets of an elastic net are views of one set of weights, this is a net of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from gearshift.errors import ModelError
from gearshift.trainer.vision.elastic import ConvolutionalNet
from gearshift.trainer.vision.generator_steps import input_axis, output_axis
from gearshift.trainer.vision.groups import channel_sets, find_elastic, is_dense, is_depthwise
from gearshift.trainer.vision.net import FILTERED, INPUT, WEIGHTED, Net, Step

SIZES = {"inputs": ("in_channels", "in_features"), "outputs": ("out_channels", "out_features", "num_features")}


@torch.no_grad()
def cut_channels(model: ConvolutionalNet, share: float) -> ConvolutionalNet:
    """Return a net with this share of the channels of every value, but for the image and the answer.

    Raises ModelError for convolutions in groups.
    """
    if not 0 < share <= 1:
        raise ModelError(f"share of channels: expected one above 0 and up to 1, got {share}")
    net, owner = model.net, channel_sets(model.net)
    grouped = [step.place for step in net.steps if step.kind in FILTERED and not (is_dense(step) or is_depthwise(step))]
    if grouped:
        raise ModelError(f"{grouped[0]}: convolutions in groups cannot be cut")
    whole = {owner[INPUT], owner[net.steps[-1].name]}
    kept = {of: _largest(model, owner, of, share) for of in set(owner.values()) - whole}
    made = dataclasses.replace(net, steps=tuple(_smaller(step, owner, kept) for step in net.steps))
    cut = ConvolutionalNet(find_elastic(made))
    cut.load_state_dict({name: _part(net, name, value, owner, kept) for name, value in model.state_dict().items()})
    return cut.train(model.training)


def _largest(model: ConvolutionalNet, owner: Mapping[str, str], of: str, share: float) -> Tensor:
    """Return the channels with the largest weights that read them, in their old order."""
    total: Tensor | None = None
    for step in model.net.steps:
        if is_dense(step) and owner[step.inputs[0]] == of:
            weight = model.get_parameter(f"layers.{step.name}.weight")
            norms = weight.abs().sum(dim=[axis for axis in range(weight.ndim) if axis != input_axis(step.kind)])
            total = norms if total is None else total + norms
    assert total is not None, "a value that nothing reads is the answer"
    count = max(1, round(share * len(total)))
    return total.argsort(descending=True, stable=True)[:count].sort().values


def _smaller(step: Step, owner: Mapping[str, str], kept: Mapping[str, Tensor]) -> Step:
    sizes = dict(step.sizes)
    for side, value in (("inputs", step.inputs[0]), ("outputs", step.name)):
        places = kept.get(owner[value])
        for name in SIZES[side]:
            if places is not None and name in sizes:
                sizes[name] = len(places)
    if is_depthwise(step):
        sizes["groups"] = sizes["out_channels"]
    return dataclasses.replace(step, sizes=sizes)


def _part(net: Net, name: str, value: Tensor, owner: Mapping[str, str], kept: Mapping[str, Tensor]) -> Tensor:
    """Return the kept part of an array of weights."""
    if not name.startswith("layers."):  # transforms of kernel sizes, which channels share
        return value.clone()
    _, of, part = name.split(".")
    step = net.by_name[of]
    assert step.kind in WEIGHTED, f"a step of kind {step.kind} has no weights"
    if value.ndim == 0:  # a norm's count of batches
        return value
    outputs, inputs = kept.get(owner[step.name]), kept.get(owner[step.inputs[0]])
    if outputs is not None:
        value = value.index_select(output_axis(step.kind) if part == "weight" else 0, outputs)
    if inputs is not None and part == "weight" and is_dense(step):
        value = value.index_select(input_axis(step.kind), inputs)
    return value.clone()
