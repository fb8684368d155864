"""Spaces of nets of convolutions: counting, choices, JSON, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import pytest

from gearshift.errors import InputError
from gearshift.runtime.space.convolutions import Convolution, ConvolutionShape, ConvolutionSubnet, Group
from gearshift.runtime.space.space import ConvolutionSpace, listed_space, read_subnet
from gearshift.runtime.space.uniform import convolution_grid, convolution_subnet

STEM = Convolution(3, 8, taps=9)
SHAPE = ConvolutionShape(
    (Group(32, 3), Group(32, 5, block=0, stage=0), Group(32, 5, block=1, stage=0)),
    (
        STEM,
        *(
            one
            for group, block in ((0, -1), (1, 0), (2, 1))
            for one in (
                Convolution(8, 32, target=group, block=block),
                Convolution(1, 32, taps=9, pixels=4, depthwise=True, source=group, target=group, block=block),
                Convolution(32, 8, pixels=4, source=group, block=block),
            )
        ),
    ),
)
"""A stem, and three inverted residuals at half the height and width, of which the last two can be skipped."""


def test_parameters_and_macs_are_sums_over_the_convolutions_that_run() -> None:
    half = ConvolutionSubnet(((16, 3), (0, 0), (0, 0)))
    stem = 3 * 9 * 8
    assert half.parameters(SHAPE) == stem + 8 + (8 * 16 + 16) + (9 * 16 + 16) + (16 * 8 + 8)
    assert half.macs(SHAPE, 64) == 64 * (stem + 8 * 16) + 16 * (9 * 16 + 16 * 8)
    assert SHAPE.full.macs(SHAPE, 64) == 64 * (stem + 3 * 8 * 32) + 3 * 16 * (9 * 32 + 32 * 8)


def test_a_grid_keeps_the_first_blocks_and_whole_steps_of_channels() -> None:
    grid = convolution_grid(SHAPE, (1.0, 0.5, 0.3), (1.0, 0.5))
    assert {name: subnet.layers for name, subnet in grid.items()} == {
        "w100-d100": ((32, 3), (32, 5), (32, 5)),
        "w050-d100": ((16, 3), (16, 5), (16, 5)),
        "w100-d050": ((32, 3), (32, 5), (0, 0)),
        "w050-d050": ((16, 3), (16, 5), (0, 0)),
    }
    assert all(subnet.fits(SHAPE) for subnet in grid.values())


CUT = dataclasses.replace(
    SHAPE, groups=tuple(dataclasses.replace(group, smallest=3) if group.kernel > 3 else group for group in SHAPE.groups)
)
"""The same net, whose larger filters can be cut to 3 x 3."""


def test_filters_are_cut_to_each_size_and_the_name_tells_it() -> None:
    grid = convolution_grid(CUT, (1.0, 0.5), (1.0, 0.0), (7, 5, 3))
    assert {name: subnet.layers for name, subnet in grid.items()} == {
        "w100-d100": ((32, 3), (32, 5), (32, 5)),
        "w100-d100-k3": ((32, 3), (32, 3), (32, 3)),
        "w050-d100": ((16, 3), (16, 5), (16, 5)),
        "w050-d100-k3": ((16, 3), (16, 3), (16, 3)),
        "w100-d000": ((32, 3), (0, 0), (0, 0)),
        "w050-d000": ((16, 3), (0, 0), (0, 0)),
    }
    assert all(subnet.fits(CUT) for subnet in grid.values())
    assert not ConvolutionSubnet(((32, 3), (32, 4), (32, 5))).fits(CUT)
    assert not ConvolutionSubnet(((32, 3), (32, 1), (32, 5))).fits(CUT)


def test_smaller_filters_have_fewer_parameters_and_macs() -> None:
    wide = ConvolutionSubnet(((32, 3), (32, 3), (32, 5)))
    shape = dataclasses.replace(CUT, convolutions=depthwise(25))
    assert shape.full.parameters(shape) - wide.parameters(shape) == 32 * (25 - 9)
    assert shape.full.macs(shape, 64) - wide.macs(shape, 64) == 16 * 32 * (25 - 9)


def depthwise(taps: int) -> tuple[Convolution, ...]:
    """Return the convolutions of the net with so many places in the filters of the blocks."""
    return tuple(
        dataclasses.replace(one, taps=taps) if one.depthwise and one.block >= 0 else one for one in CUT.convolutions
    )


@pytest.mark.parametrize("smallest", [7, 2, -1])
def test_a_smallest_kernel_is_whole_rings_below_the_largest(smallest: int) -> None:
    with pytest.raises(InputError, match="expected a smallest kernel by whole rings"):
        dataclasses.replace(SHAPE, groups=(Group(8, 5, smallest=smallest),), convolutions=())


@pytest.mark.parametrize("width", [0, 1.5])
def test_a_multiplier_outside_of_0_to_1_is_refused(width: float) -> None:
    with pytest.raises(InputError, match="width multiplier: expected a number above 0, at most 1"):
        convolution_subnet(SHAPE, width, 1)


@pytest.mark.parametrize(
    "layers",
    [
        ((32, 3), (32, 5)),
        ((40, 3), (32, 5), (32, 5)),
        ((32, 5), (32, 5), (32, 5)),
        ((0, 0), (32, 5), (32, 5)),
        ((32, 3), (0, 0), (32, 5)),
    ],
    ids=[
        "a group is missing",
        "too many channels",
        "another kernel",
        "a group that always runs",
        "the second block alone",
    ],
)
def test_a_subnet_of_another_net_does_not_fit(layers: tuple[tuple[int, int], ...]) -> None:
    assert not ConvolutionSubnet(layers).fits(SHAPE)


def test_a_group_keeps_channels_and_a_kernel_or_neither() -> None:
    with pytest.raises(InputError, match="group 1 keeps 8 channels of kernel size 0"):
        ConvolutionSubnet(((8, 3), (8, 0)))


def test_a_space_and_its_subnets_survive_json_and_a_choice_is_the_place_in_the_list() -> None:
    subnets = list(convolution_grid(SHAPE).values())
    space = listed_space(SHAPE, subnets)
    read = ConvolutionSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    assert read == space
    assert [read.subnet((place,)) for place in range(len(subnets))] == subnets
    assert [read.choice(subnet) for subnet in subnets] == [(place,) for place in range(len(subnets))]
    assert [read_subnet(json.loads(json.dumps(subnet.to_plain()))) for subnet in subnets] == subnets


def test_a_space_with_an_option_of_another_net_is_refused() -> None:
    with pytest.raises(InputError, match="no group from 0 on can keep"):
        listed_space(SHAPE, [ConvolutionSubnet(((64, 3), (32, 5), (32, 5)))])
