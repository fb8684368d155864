"""Cutting weights: nothing is lost, nothing is there twice, and a prefix of segments is a prefix of the layer."""

import numpy as np
import pytest

from gearshift.export.graph.segments import Array, LayerSegments, cut_layer
from gearshift.runtime.space.space import Option, Space, Stage, layer_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from tests.trainer.tiny import SHAPE, random_model

WEIGHTS = {name: tensor.numpy() for name, tensor in random_model().state_dict().items()}
WHOLE = ((4, 64),)
SPACES = {
    "uniform": layer_space(SHAPE, list(uniform_grid(SHAPE).values())),
    "one piece": Space(SHAPE, tuple(Stage(layer, (Option(WHOLE),)) for layer in range(4))),
    "uneven": Space(
        SHAPE,
        (
            Stage(0, (Option(WHOLE), Option(((1, 64),)), Option(((4, 7),)), Option(((0, 0),)))),
            Stage(1, (Option(((4, 64), (4, 64))), Option(((3, 33), (0, 0))), Option(((1, 1), (2, 63))))),
            Stage(3, (Option(WHOLE), Option(((2, 40),)))),
        ),
    ),
}


@pytest.fixture(params=SPACES.values(), ids=list(SPACES))
def space(request: pytest.FixtureRequest) -> Space:
    space: Space = request.param
    return space


def weight(layer: int, name: str) -> Array:
    array: Array = WEIGHTS[f"layers.{layer}.{name}"]
    return array


def present(array: Array | None) -> Array:
    assert array is not None
    return array


def assert_prefix(cut: LayerSegments, layer: int, heads: int, neurons: int) -> None:
    """The segments up to these counts, put together, are the first rows and columns of the layer's weights."""
    inner = heads * SHAPE.head_size
    kept = [segment for segment in cut.heads if segment.end <= heads]
    # (hidden, query key value, segment heads x head size) -> all queries, all keys, all values
    split = [np.stack(np.split(segment.qkv, 3, axis=1)) for segment in kept]
    bias = [np.stack(np.split(present(segment.qkv_bias), 3)) for segment in kept]
    for place, part in enumerate(("query", "key", "value")):
        joined = np.concatenate([parts[place] for parts in split], axis=1)
        assert np.array_equal(joined, weight(layer, f"{part}.weight")[:inner].T)
        assert np.array_equal(np.concatenate([parts[place] for parts in bias]), weight(layer, f"{part}.bias")[:inner])
    output = np.concatenate([segment.output for segment in kept])
    assert np.array_equal(output, weight(layer, "attention_output.weight")[:, :inner].T)
    ffn = [segment for segment in cut.neurons if segment.end <= neurons]
    into = np.concatenate([segment.ffn_in for segment in ffn], axis=1)
    assert np.array_equal(into, weight(layer, "ffn_in.weight")[:neurons].T)
    assert np.array_equal(
        np.concatenate([present(segment.ffn_in_bias) for segment in ffn]), weight(layer, "ffn_in.bias")[:neurons]
    )
    out = np.concatenate([segment.ffn_out for segment in ffn])
    assert np.array_equal(out, weight(layer, "ffn_out.weight")[:, :neurons].T)


@pytest.mark.parametrize("layer", range(SHAPE.layers))
def test_the_segments_that_an_option_keeps_are_exactly_its_weights(space: Space, layer: int) -> None:
    cut = cut_layer(WEIGHTS, space, layer)
    for heads, neurons in set(space.options_of(layer)) - {(0, 0)}:
        assert_prefix(cut, layer, heads, neurons)


@pytest.mark.parametrize("layer", range(SHAPE.layers))
def test_all_segments_together_are_the_whole_layer_and_no_more(space: Space, layer: int) -> None:
    cut = cut_layer(WEIGHTS, space, layer)
    assert_prefix(cut, layer, SHAPE.heads, SHAPE.neurons)
    assert sum(segment.heads for segment in cut.heads) == SHAPE.heads
    assert (cut.heads[-1].end, cut.neurons[-1].end) == (SHAPE.heads, SHAPE.neurons)
    assert cut.attention_norm is not None
    shared = [present(array) for array in (cut.attention_bias, cut.ffn_bias, *cut.attention_norm, *cut.ffn_norm)]
    names = ["attention_output.bias", "ffn_out.bias"]
    names += [f"{norm}.{part}" for norm in ("attention_norm", "ffn_norm") for part in ("weight", "bias")]
    for array, name in zip(shared, names, strict=True):
        assert np.array_equal(array, weight(layer, name))


@pytest.mark.parametrize("layer", range(SHAPE.layers))
def test_a_layer_is_cut_only_where_the_space_cuts_it(space: Space, layer: int) -> None:
    cut = cut_layer(WEIGHTS, space, layer)
    assert {segment.end for segment in cut.heads} == {heads for heads, _ in space.options_of(layer)} - {0}
    assert {segment.end for segment in cut.neurons} == {neurons for _, neurons in space.options_of(layer)} - {0}


def test_no_two_segments_of_a_model_have_one_name(space: Space) -> None:
    layers = [cut_layer(WEIGHTS, space, layer) for layer in range(SHAPE.layers)]
    names = [segment.name for cut in layers for segment in cut.heads]
    names += [segment.name for cut in layers for segment in cut.neurons]
    assert len(set(names)) == len(names)
    assert len({cut.name for cut in layers}) == SHAPE.layers


def test_heads_that_no_option_keeps_are_not_there() -> None:
    small = Subnet(((2, 16),) * 4)
    cut = cut_layer(WEIGHTS, layer_space(SHAPE, [small]), 1)
    assert [(segment.end, segment.qkv.shape) for segment in cut.heads] == [(2, (32, 3 * 16))]
    assert [(segment.end, segment.ffn_in.shape) for segment in cut.neurons] == [(16, (32, 16))]
