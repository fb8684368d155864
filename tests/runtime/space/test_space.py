"""Spaces of elastic layers: names, counting, choices, JSON, and what is refused."""

from __future__ import annotations

import itertools
import json

import pytest

from gearshift.errors import InputError, UnknownSubnetError
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Option, Space, Stage, cut_space, layer_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import DEPTHS, WIDTHS, kept_layers, uniform_grid, uniform_name, uniform_subnet

BERT_BASE = EncoderShape(12, 768, 12, 3072, 30522, 512, 2)
MINILM = EncoderShape(6, 384, 12, 1536, 30522, 512, 2)
POOLER = 768 * 768 + 768
"""Published counts of BERT hold it; ours stop at the encoder."""


@pytest.mark.parametrize(
    ("layers", "depth", "dropped"),
    [
        (12, 1.0, ()),
        (12, 0.75, (3, 7, 11)),
        (12, 0.5, (1, 3, 5, 7, 9, 11)),
        (6, 1.0, ()),
        (6, 0.75, (3,)),
        (6, 0.5, (1, 3, 5)),
    ],
)
def test_a_depth_multiplier_drops_the_layers_of_the_paper(layers: int, depth: float, dropped: tuple[int, ...]) -> None:
    assert kept_layers(layers, depth) == tuple(i for i in range(layers) if i not in dropped)


@pytest.mark.parametrize(
    ("layers", "depth", "kept"),
    [(12, 0.25, (0, 4, 8)), (12, 0.34, (0, 3, 6, 9)), (6, 0.25, (0, 4)), (6, 0.1, (0,)), (1, 0.25, (0,))],
)
def test_a_depth_below_a_half_keeps_every_nth_layer_from_the_first_on(
    layers: int, depth: float, kept: tuple[int, ...]
) -> None:
    assert kept_layers(layers, depth) == kept


@pytest.mark.parametrize("depth", [0.0, 1.1, -1.0, float("nan")])
def test_a_depth_out_of_range_is_refused(depth: float) -> None:
    with pytest.raises(InputError, match="depth multiplier: expected a number above 0, at most 1"):
        kept_layers(12, depth)


@pytest.mark.parametrize("width", [0.0, -0.5, 1.5, float("nan")])
def test_a_width_out_of_range_is_refused(width: float) -> None:
    with pytest.raises(InputError, match="width multiplier: expected a number above 0"):
        uniform_subnet(BERT_BASE, width, 1.0)


# Parameters in millions, with the pooler, and GMACs at 128 tokens, both by hand from the shape of BERT-base:
# 23.84 M embeddings, 0.59 M pooler, and in each layer 7.09 M at full width.
BERT_BASE_FIGURES = {
    "w100-d100": (109.5, 11.2),
    "w075-d100": (88.2, 8.4),
    "w050-d100": (67.0, 5.6),
    "w025-d100": (45.7, 2.8),
    "w100-d075": (88.2, 8.4),
    "w075-d075": (72.3, 6.3),
    "w050-d075": (56.3, 4.2),
    "w025-d075": (40.4, 2.1),
    "w100-d050": (67.0, 5.6),
    "w075-d050": (56.3, 4.2),
    "w050-d050": (45.7, 2.8),
    "w025-d050": (35.1, 1.4),
}


@pytest.mark.parametrize("name", BERT_BASE_FIGURES)
def test_parameters_and_macs_are_those_of_bert_base(name: str) -> None:
    subnet = uniform_grid(BERT_BASE)[name]
    millions, giga = BERT_BASE_FIGURES[name]
    assert (subnet.parameters(BERT_BASE) + POOLER) / 1e6 == pytest.approx(millions, abs=0.05)
    assert subnet.macs(BERT_BASE, 128) / 1e9 == pytest.approx(giga, abs=0.05)


def test_the_full_subnet_has_every_parameter_of_bert_base() -> None:
    assert uniform_subnet(BERT_BASE, 1.0, 1.0).parameters(BERT_BASE) == 109_482_240 - POOLER


def test_macs_of_one_small_layer_are_those_counted_by_hand() -> None:
    shape = EncoderShape(1, 4, 2, 8, 10, 10, 0)
    # Half the width, 3 tokens: Q, K, V and output 4 x (3 x 4 x 2), FFN 2 x (3 x 4 x 4),
    # scores and mixing 2 x (3 x 3 x 2).
    assert Subnet(((1, 4),)).macs(shape, 3) == 96 + 96 + 36


def test_the_grid_lists_every_width_and_depth_largest_first() -> None:
    grid = uniform_grid(MINILM)
    assert list(grid) == [uniform_name(width, depth) for depth in DEPTHS for width in WIDTHS]
    assert grid["w050-d075"].layers == ((6, 768),) * 3 + ((0, 0),) + ((6, 768),) * 2
    assert [kept.layer for kept in grid["w025-d050"].kept()] == [0, 2, 4]


def test_equal_subnets_of_a_small_encoder_are_listed_once() -> None:
    grid = uniform_grid(EncoderShape(1, 4, 1, 2, 10, 10, 0))
    assert grid == {"w100-d100": Subnet(((1, 2),)), "w050-d100": Subnet(((1, 1),))}


@pytest.mark.parametrize("shape", [EncoderShape(4, 8, 4, 16, 10, 10, 2), MINILM])
def test_every_choice_of_a_space_makes_a_subnet_and_back(shape: EncoderShape) -> None:
    space = layer_space(shape, list(uniform_grid(shape).values()))
    choices = list(itertools.product(*(range(len(stage.options)) for stage in space.stages)))
    for choice in choices:
        subnet = space.subnet(choice)
        assert subnet.fits(shape)
        assert space.choice(subnet) == choice
    assert len({space.subnet(choice) for choice in choices}) == len(choices)


def test_every_subnet_of_the_grid_is_in_its_space() -> None:
    grid = uniform_grid(MINILM)
    space = layer_space(MINILM, list(grid.values()))
    assert [space.subnet(space.choice(subnet)) for subnet in grid.values()] == list(grid.values())


def test_a_space_survives_json() -> None:
    space = layer_space(MINILM, list(uniform_grid(MINILM).values()))
    assert Space.from_dict(json.loads(json.dumps(space.to_dict()))) == space


def test_cuts_are_where_some_option_ends() -> None:
    space = layer_space(MINILM, list(uniform_grid(MINILM).values()))
    assert [space.head_cuts(layer) for layer in range(6)] == [(3, 6, 9, 12)] * 6
    assert space.neuron_cuts(3) == (384, 768, 1152, 1536)


def test_a_stage_may_cover_several_layers() -> None:
    shape = EncoderShape(2, 4, 2, 8, 10, 10, 0)
    whole, half = uniform_subnet(shape, 1.0, 1.0), uniform_subnet(shape, 0.5, 1.0)
    space = Space(shape, (Stage(0, (Option(whole.layers), Option(half.layers))),))
    assert space.choice(half) == (1,)
    assert space.subnet((0,)) == whole
    assert space.neuron_cuts(1) == (4, 8)


def test_a_subnet_outside_the_space_is_refused() -> None:
    space = layer_space(MINILM, [uniform_subnet(MINILM, 1.0, 1.0)])
    with pytest.raises(UnknownSubnetError, match="no option at layer 0 keeps"):
        space.choice(uniform_subnet(MINILM, 0.5, 1.0))


@pytest.mark.parametrize(
    ("choice", "message"),
    [((0,), "expected 6 integers, got 1"), ((0, 0, 0, 0, 0, 9), "options 0 to"), ((-1,) * 6, "got -1")],
)
def test_a_choice_that_no_graph_takes_is_refused(choice: tuple[int, ...], message: str) -> None:
    space = layer_space(MINILM, list(uniform_grid(MINILM).values()))
    with pytest.raises(UnknownSubnetError, match=message):
        space.subnet(choice)


def test_a_subnet_keeps_heads_and_neurons_or_neither() -> None:
    with pytest.raises(InputError, match=r"layer 1 keeps \(2, 0\)"):
        Subnet(((1, 1), (2, 0)))


def test_a_subnet_without_any_layer_is_refused() -> None:
    with pytest.raises(InputError, match="every layer is skipped"):
        Subnet(((0, 0), (0, 0)))


def test_a_subnet_of_another_encoder_does_not_fit() -> None:
    assert not uniform_subnet(BERT_BASE, 1.0, 1.0).fits(MINILM)
    assert not Subnet(((13, 1),) * 6).fits(MINILM)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((Stage(1, (Option(((1, 1),)),)),), "a stage starts at layer 1; expected 0"),
        ((Stage(0, (Option(((1, 1),)),)),), "the stages cover 1 layers, the encoder has 2"),
        ((Stage(0, (Option(((3, 1), (1, 1))),)),), r"keeps \(3, 1\) of \(2, 8\)"),
    ],
)
def test_a_space_must_cover_its_encoder(stages: tuple[Stage, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Space(EncoderShape(2, 4, 2, 8, 10, 10, 0), stages)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no options"),
        ((Option(((1, 1),)), Option(((1, 1), (1, 1)))), "expected one length"),
        ((Option(((1, 1),)), Option(((1, 1),))), "listed twice"),
    ],
)
def test_a_stage_has_different_options_of_one_length(options: tuple[Option, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Stage(0, options)


def test_sizes_that_make_no_encoder_are_refused() -> None:
    with pytest.raises(InputError, match="hidden 10 is no multiple of heads 3"):
        EncoderShape(1, 10, 3, 4, 10, 10, 0)
    with pytest.raises(InputError, match="layers must be at least 1, got 0"):
        EncoderShape(0, 4, 2, 4, 10, 10, 0)


@pytest.mark.parametrize("layers", range(1, 8))
def test_every_subnet_has_a_choice_however_many_layers_are_switched_together(layers: int) -> None:
    subnets = list(uniform_grid(MINILM).values())
    space = cut_space(MINILM, subnets, layers)
    assert [stage.length for stage in space.stages] == [min(layers, 6 - first) for first in range(0, 6, layers)]
    choices = [space.choice(subnet) for subnet in subnets]
    assert [space.subnet(choice) for choice in choices] == subnets
    assert len(set(choices)) == len(subnets)


def test_one_stage_lists_the_subnets_and_no_others() -> None:
    subnets = list(uniform_grid(MINILM).values())
    (stage,) = cut_space(MINILM, subnets, 6).stages
    assert {Subnet(option.layers) for option in stage.options} == set(subnets)


@pytest.mark.parametrize("layers", [1, 2, 6])
def test_a_layer_is_cut_only_where_a_subnet_cuts_it(layers: int) -> None:
    half = Subnet(((12, 1536),) * 3 + ((6, 768),) * 3)
    space = cut_space(MINILM, [Subnet(((12, 1536),) * 6), half], layers)
    assert [space.head_cuts(layer) for layer in range(6)] == [(12,)] * 3 + [(6, 12)] * 3
    assert [space.neuron_cuts(layer) for layer in range(6)] == [(1536,)] * 3 + [(768, 1536)] * 3


def test_a_stage_of_no_layers_is_refused() -> None:
    with pytest.raises(InputError, match="layers per stage: expected 1 or more, got 0"):
        cut_space(MINILM, [Subnet(((12, 1536),) * 6)], 0)
