"""Modules are traced as they are: the steps compute what the module computes, and what is no step is named."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, fx, nn

from gearshift.errors import ModelError
from gearshift.trainer.vision.elastic import ConvolutionalNet, net_of
from gearshift.trainer.vision.models import MODELS
from tests.trainer.vision.nets import NETS, SIZE, images, made


@pytest.mark.parametrize("name", NETS)
def test_a_traced_net_answers_as_its_module_does_and_again_from_its_json(name: str) -> None:
    module = made(name)
    net = ConvolutionalNet.convert(module, SIZE, SIZE).eval()
    wanted = module(images())
    assert torch.allclose(net(images()).logits, wanted, atol=1e-5)
    read = net_of(json.loads(json.dumps(net.net.to_dict()))).eval()
    read.load_state_dict(net.state_dict())
    assert torch.allclose(read(images()).logits, wanted, atol=1e-5)
    assert read.shape == net.shape


@pytest.mark.parametrize("name", MODELS)
def test_the_models_by_name_are_traced_whole(name: str) -> None:
    module = MODELS[name](7).eval()
    net = ConvolutionalNet.convert(module, 32, 32).eval()
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.allclose(net(pixels).logits, module(pixels), atol=1e-5)


def stochastic_depth(value: Tensor, share: float, mode: str, training: bool) -> Tensor:
    """Leave a value as it is, as that of torchvision does in evaluation."""
    return value


fx.wrap("stochastic_depth")


class Deep(nn.Module):
    """Residual net with stochastic depth in its block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return means over the places."""
        value = self.stem(pixels)
        made = self.second(torch.relu(self.first(value)))
        answer: Tensor = (value + stochastic_depth(made, 0.2, "row", self.training)).mean((2, 3))
        return answer


def test_stochastic_depth_is_left_out_and_its_block_can_be_skipped() -> None:
    module = Deep().eval()
    net = ConvolutionalNet.convert(module, SIZE, SIZE).eval()
    assert torch.allclose(net(images()).logits, module(images()), atol=1e-5)
    assert [group.block for group in net.shape.groups] == [0]


class Twice(nn.Module):
    """Net that runs one convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv2d(3, 3, 3, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the convolution of the convolution."""
        twice: Tensor = self.filter(self.filter(pixels))
        return twice


class Conditional(nn.Module):
    """Net that looks at its values."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Return one of two answers."""
        return pixels if pixels.sum() > 0 else -pixels


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), "1: expected a layer out of .*, found GroupNorm"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding="same")), "Conv2d: .*found padding 'same'"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2)), "found one to 2; expected 1 x 1"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), r"expected logits .* got a value of shape \(4, 14, 14\)"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)), "flatten does not fit its input of shape"),
        (Twice(), "filter: .*Conv2d that runs twice with the same weights"),
        (Conditional(), "Conditional: torch.fx cannot trace it"),
    ],
    ids=[
        "a norm of groups",
        "padding by name",
        "a pool to 2 x 2",
        "no logits",
        "places flattened",
        "twice",
        "condition",
    ],
)
def test_what_is_no_step_is_named(module: nn.Module, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        ConvolutionalNet.convert(module, SIZE, SIZE)


def test_a_net_without_inner_channels_is_refused_with_the_reasons() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ModelError, match=r"Sequential: expected channels inside of blocks .*0: they are the labels"):
        ConvolutionalNet.convert(module, SIZE, SIZE)
