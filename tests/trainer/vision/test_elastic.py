"""A subnet computes what the full net would with its other channels cut off, and with its other blocks left out."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from gearshift.errors import DataError, ModelError
from gearshift.runtime.space.convolutions import ConvolutionSubnet, Group
from gearshift.trainer.data.images import ImageBatch
from gearshift.trainer.vision.elastic import ConvolutionalNet, transform_name
from gearshift.trainer.vision.generator_steps import input_axis
from gearshift.trainer.vision.groups import is_dense, is_depthwise
from gearshift.trainer.vision.net import INPUT, Step
from gearshift.trainer.vision.rank import channel_importance, rank
from gearshift.trainer.vision.statistics import calibrate
from tests.trainer.vision.nets import NETS, SIZE, images, made

GROUPS = {
    "residual": [Group(8), Group(16), Group(16, 1, 0, 0), Group(16, 1, 1, 0)],
    "inverted": [Group(32, 3), Group(48, 3, 0, 0), Group(32)],
    "squeezed": [Group(32, 5, 0, 0, 3), Group(16, 7, 1, 0, 3)],
    "chain": [Group(16), Group(32), Group(16)],
    "stretched": [Group(16), Group(24), Group(16, 3)],
    "generator": [Group(8), Group(16), Group(32, 1, 0, 0), Group(32, 1, 1, 0), Group(16), Group(8)],
    "separable": [Group(8), Group(16), Group(32, 3, 0, 0), Group(32, 3, 1, 0), Group(16), Group(8)],
}


def elastic(name: str) -> ConvolutionalNet:
    return ConvolutionalNet.convert(made(name), SIZE, SIZE).eval()


@pytest.mark.parametrize("name", NETS)
def test_inner_groups_and_blocks_are_found(name: str) -> None:
    assert list(elastic(name).shape.groups) == GROUPS[name]


def test_convolutions_that_stay_are_named_with_the_reason() -> None:
    added, small = "a residual connection adds to them", "they have one place each, of which little can be saved"
    trunk = ("0", "3.body.0", "3.body.3", "4.body.6", "5.body.6")
    assert elastic("inverted").elastic.fixed == dict.fromkeys(trunk, added)
    assert elastic("squeezed").elastic.fixed == {
        "stem": added,
        "blocks.0.squeeze": small,
        "blocks.0.narrow": added,
        "blocks.1.squeeze": small,
        "blocks.1.narrow": added,
    }


def learnt(net: ConvolutionalNet) -> None:
    """Give the matrices of kernels the numbers of a net that has learnt."""
    source = torch.Generator().manual_seed(2)
    for matrix in net.transforms.values():
        matrix.data += 0.2 * torch.randn(matrix.shape, generator=source)


def centred(net: ConvolutionalNet, step: Step, filters: Tensor, kernel: int) -> Tensor:
    """Return whole filters whose border is zero, as those of this size compute."""
    whole = filters.shape[-1]
    for size in range(whole - 2, kernel - 1, -2):
        edge = (filters.shape[-1] - size) // 2
        small = filters[:, :, edge : edge + size, edge : edge + size]
        rows = torch.stack([each.flatten() for each in small])
        filters = (rows @ net.transforms[transform_name(step, size)].data.T).view(-1, 1, size, size)
    edge = (whole - filters.shape[-1]) // 2
    return torch.nn.functional.pad(filters, [edge] * 4)


def masked(net: ConvolutionalNet, subnet: ConvolutionSubnet, pixels: Tensor) -> Tensor:
    """Compute a subnet by the full net: consumers read zeros in place of the channels that are cut, and the sum of a
    skipped block is what it read."""
    cut = copy.deepcopy(net)
    for step in net.net.steps:
        layer: Any
        group = net.elastic.source(step)
        if is_dense(step) and group >= 0:
            layer = cut.layers[step.name]
            read = layer.weight.data.movedim(input_axis(step.kind), 0)
            read[subnet.layers[group][0] :] = 0
        group = net.elastic.target(step)
        if is_depthwise(step) and net.shape.groups[group].smallest and subnet.layers[group][1]:
            layer = cut.layers[step.name]
            layer.weight.data = centred(net, step, layer.weight.data, subnet.layers[group][1])
    values = {INPUT: pixels}
    skipped = net.shape.skipped(subnet.layers)
    sums = {block.sum: block.kept for number, block in enumerate(net.elastic.blocks) if number in skipped}
    for step in cut.net.steps:
        given = [values[name] for name in step.inputs]
        if step.name in sums:
            values[step.name] = values[sums[step.name]]
        elif step.name in cut.layers:
            values[step.name] = cut.layers[step.name](given[0])
        else:
            values[step.name] = step.applied(given, training=False)
    return values[cut.net.steps[-1].name]


def with_full_statistics(net: ConvolutionalNet, subnet: ConvolutionSubnet) -> None:
    """Give a subnet the statistics of the full net, for the channels that it keeps."""
    names = {step.name: step for step in net.net.steps if step.kind == "norm"}
    net.statistics[subnet] = {
        name: tuple(  # type: ignore[misc]
            tensor[: net.kept(subnet, net.elastic.target(names[name]), len(tensor))] for tensor in moments
        )
        for name, moments in net.moments(net.full).items()
    }


@pytest.mark.parametrize("name", NETS)
def test_a_subnet_is_the_full_net_with_channels_and_blocks_cut_off(name: str) -> None:
    net = elastic(name)
    learnt(net)
    grid = net.grid((1.0, 0.75, 0.5, 0.25), (1.0, 0.5, 0.0), (7, 5, 3))
    assert len(grid) > 1
    for subnet in grid.values():
        assert subnet.fits(net.shape)
        with_full_statistics(net, subnet)
        assert torch.allclose(net(images(), subnet).logits, masked(net, subnet, images()), atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_ranking_sorts_the_channels_and_changes_no_answer(name: str) -> None:
    net = elastic(name)
    before = net(images()).logits
    importance = [channel_importance(net, group) for group in range(len(net.shape.groups))]
    rank(net)
    assert torch.allclose(net(images()).logits, before, atol=1e-5)
    for group, old in enumerate(importance):
        assert torch.allclose(channel_importance(net, group), old.sort(descending=True).values, rtol=1e-4)
    sorted_once = copy.deepcopy(net.state_dict())
    rank(net)
    assert all(torch.equal(tensor, sorted_once[key]) for key, tensor in net.state_dict().items())


def batches(count: int) -> list[ImageBatch]:
    return [ImageBatch(images(8, seed), torch.zeros(8, dtype=torch.long), torch.arange(8)) for seed in range(count)]


def test_statistics_of_a_subnet_are_those_of_the_images_and_its_own() -> None:
    net = elastic("inverted")
    one, other = (net.grid()[name] for name in ("w050-d100", "w025-d100"))
    with pytest.raises(ModelError, match="its norms have no statistics"):
        net(images(), one)
    calibrate(net, [one, other], batches(1))
    first = next(step for step in net.net.steps if step.kind == "norm")
    stem: Any = net.layers[net.net.steps[0].name]
    kept = stem(batches(1)[0].pixels)[:, : net.kept(one, net.elastic.target(first), 8)]
    mean, variance = net.moments(one)[first.name]
    assert torch.allclose(mean, kept.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(variance, kept.var((0, 2, 3)), atol=1e-5)
    last = [step for step in net.net.steps if step.kind == "norm"][-1].name
    assert not torch.allclose(net.moments(one)[last][1][:8], net.moments(other)[last][1][:8])


def test_statistics_are_means_over_the_batches() -> None:
    net = elastic("residual")
    subnet = net.grid()["w050-d100"]
    found = []
    for group in (batches(2)[:1], batches(2)[1:], batches(2)):
        calibrate(net, [subnet], group)
        found.append(net.moments(subnet))
    for name in found[0]:
        for part in range(2):
            assert torch.allclose(found[2][name][part], (found[0][name][part] + found[1][name][part]) / 2, atol=1e-5)


def test_statistics_need_images() -> None:
    net = elastic("residual")
    with pytest.raises(DataError, match="expected training images"):
        calibrate(net, [net.full], [])


def test_learning_uses_the_statistics_of_the_batch_and_moves_those_of_the_full_net_alone() -> None:
    net = elastic("residual").train()
    norm: Any = net.layers[next(step.name for step in net.net.steps if step.kind == "norm")]
    before = norm.running_mean.clone()
    net(images(), net.grid()["w050-d100"])
    assert torch.equal(norm.running_mean, before)
    net(images())
    assert not torch.equal(norm.running_mean, before)


def test_depthwise_and_dense_steps_are_told_apart() -> None:
    steps = {step.place: step for step in elastic("squeezed").net.steps if step.kind == "convolution"}
    assert is_depthwise(steps["blocks.0.filter"]) and not is_dense(steps["blocks.0.filter"])
    assert is_dense(steps["blocks.0.widen"]) and not is_depthwise(steps["blocks.0.widen"])
