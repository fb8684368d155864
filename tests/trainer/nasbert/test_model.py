"""The model of mixed operations: what is shared, what is counted, what padding does."""

from __future__ import annotations

import itertools

import pytest
import torch

from gearshift.runtime.space.parts import ROUNDS
from gearshift.runtime.space.space import BlockSpace
from gearshift.trainer.model.elastic import HEAD, Head
from gearshift.trainer.nasbert.model import MixedModel, MixedStageModel, SeparableConvolution
from tests.trainer.nasbert.tiny import lone_space, random_mixed, shared_space
from tests.trainer.tiny import random_batch


@pytest.mark.parametrize("space", [lone_space(), lone_space(embedding=16)], ids=["projected", "as wide"])
def test_the_count_of_a_lone_net_is_that_of_its_parameters(space: BlockSpace) -> None:
    model = random_mixed(space)
    held = sum(p.numel() for name, p in model.named_parameters() if not name.startswith(HEAD))
    assert space.subnet((0, 0, 0)).parameters(space.shape) == held


def test_macs_are_the_products_that_torch_makes() -> None:
    """`FlopCounterMode` counts two operations for each of linear layers, convolutions and attention."""
    from torch.utils.flop_counter import FlopCounterMode

    space = lone_space()
    model = MixedModel(space, 8, head=Head("embedding"))
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model.eval()(random_batch([12]), space.subnet((0, 0, 0)))
    assert counter.get_total_flops() == 2 * space.subnet((0, 0, 0)).macs(space.shape, 12)


def test_blocks_of_one_size_share_what_they_have_at_the_same_place() -> None:
    space = shared_space()
    stage = MixedModel(space, 8).stages[0]
    assert isinstance(stage, MixedStageModel)
    assert {name for name in stage.cells if name.startswith("16_0")} == {
        f"16_0_{one}" for one in ("attention", "ffn", "conv3", "conv5", "conv7")
    }
    assert {name for name in stage.cells if name.split("_")[1] != "0"} == {
        "16_1_attention",
        "16_2_ffn",
        "16_3_ffn",
        "32_1_ffn",
        "32_2_conv5",
    }
    assert list(stage.into) == list(stage.out) == ["16"]  # the other is as wide as the bridge
    convolution = stage.cells["16_0_conv3"]
    assert isinstance(convolution, SeparableConvolution) and len(convolution.rounds) == ROUNDS


def test_a_step_of_one_block_leaves_the_others_weights_alone() -> None:
    model = random_mixed(shared_space())
    subnet = model.space.subnet((0, 0))
    model(random_batch([5, 3]), subnet).logits.sum().backward()
    touched = {name.split(".")[3] for name, p in model.named_parameters() if p.grad is not None and "cells" in name}
    assert touched == {"16_0_attention", "16_1_attention", "16_2_ffn", "16_3_ffn", "16_0_conv3"}


def test_padding_and_its_content_change_nothing() -> None:
    model = random_mixed(shared_space())
    batch, other = random_batch([5, 20]), random_batch([5, 20], pad_id=7)
    for choice in itertools.product(range(0, 12, 3), repeat=2):
        one, two = (model(each, model.space.subnet(choice)) for each in (batch, other))
        assert torch.allclose(one.logits, two.logits, atol=1e-5)
        alone = model(random_batch([5]), model.space.subnet(choice)).hidden
        assert len(one.hidden) == len(alone) == 3
