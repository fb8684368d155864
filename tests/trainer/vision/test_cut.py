"""A net that is cut computes what the whole one does with the same channels cut off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gearshift.errors import ModelError
from gearshift.trainer.vision.cut import cut_channels
from gearshift.trainer.vision.elastic import ConvolutionalNet
from gearshift.trainer.vision.generator_steps import input_axis
from gearshift.trainer.vision.generators import resnet_generator
from gearshift.trainer.vision.groups import channel_sets, is_dense
from gearshift.trainer.vision.net import INPUT
from tests.trainer.vision.nets import NETS, SIZE, images, made


@pytest.mark.parametrize("name", NETS)
def test_a_share_of_one_changes_nothing(name: str) -> None:
    net = ConvolutionalNet.convert(made(name), SIZE, SIZE).eval()
    assert torch.equal(cut_channels(net, 1.0)(images()).logits, net(images()).logits)


@pytest.mark.parametrize("name", NETS)
def test_half_of_the_channels_are_those_with_the_largest_weights(name: str) -> None:
    """Weights that read every second channel are zero: so the others stay, and the net computes the same."""
    net = ConvolutionalNet.convert(made(name), SIZE, SIZE).eval()
    owner = channel_sets(net.net)
    for step in net.net.steps:
        if is_dense(step) and owner[step.inputs[0]] != owner[INPUT]:
            weight: Any = net.layers[step.name].weight
            weight.data.movedim(input_axis(step.kind), 0)[1::2] = 0
    cut = cut_channels(net, 0.5)
    assert torch.allclose(cut(images()).logits, net(images()).logits, atol=1e-5)
    assert cut.full.parameters(cut.shape) < net.full.parameters(net.shape)


def test_the_trunk_of_a_generator_is_cut_alike() -> None:
    net = ConvolutionalNet.convert(resnet_generator(8, 2, separable=True), 32, 32)
    cut = cut_channels(net, 0.5)
    wanted = ConvolutionalNet.convert(resnet_generator(4, 2, separable=True), 32, 32)
    assert cut.net == wanted.net and cut.shape == wanted.shape


def test_shares_and_groups_that_cannot_be_cut_are_refused() -> None:
    net = ConvolutionalNet.convert(made("chain"), SIZE, SIZE)
    with pytest.raises(ModelError, match="share of channels: expected one above 0 and up to 1, got 0"):
        cut_channels(net, 0)
    grouped = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=2), nn.Conv2d(16, 8, 1), nn.Conv2d(8, 3, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    with pytest.raises(ModelError, match="1: convolutions in groups cannot be cut"):
        cut_channels(ConvolutionalNet.convert(grouped, SIZE, SIZE), 0.5)
