"""The probe: a graph of layers of many sizes for profiling the operators of a device. It ships without weights.

    python -m gearshift.export.probes.probe device_profiles

It has the same operators as a bundle's graph, written by the same recipes, over shapes from a tiny encoder's to those
of a BERT-base. The time of a product does not depend on its numbers: the device fills the weights file itself.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from gearshift.export.graph.builder import GraphBuilder, Scope
from gearshift.export.graph.heads import answer, embed, first_row
from gearshift.export.graph.operators import RECIPES
from gearshift.export.graph.recipe import Recipe, View
from gearshift.export.graph.segments import Array, HeadSegment, NeuronSegment
from gearshift.runtime.bundle.manifest import CHOICE, CPU_PRECISIONS, INPUTS
from gearshift.trainer.model.elastic import Head


@dataclass(frozen=True)
class ProbeLayer:
    """A layer of the probe: its hidden size, and the sizes of its segments."""

    hidden: int
    head_size: int
    heads: tuple[int, ...]
    neurons: tuple[int, ...]
    first_token: bool = False
    """Whether everything after the attention is computed for the first token alone."""


LAYERS = (
    ProbeLayer(128, 32, (1, 4), (128, 512)),
    ProbeLayer(256, 32, (2, 8), (256, 1024)),
    ProbeLayer(384, 32, (3, 6, 12), (384, 768, 1536)),
    ProbeLayer(384, 32, (3, 12), (384, 1536), first_token=True),
    ProbeLayer(512, 64, (2, 8), (512, 2048)),
    ProbeLayer(768, 64, (3, 12), (768, 1536)),
    ProbeLayer(768, 64, (3,), (768,), first_token=True),
)
"""Layers of the probe, with some twenty million weights."""

EMBEDDED = 384
"""Hidden size of the embeddings and the head."""

VOCABULARY = 4096
LABELS = 2
POSITIONS = 512
PASSED = 24
"""Number of switches that are never taken: a graph has many, and each costs a little."""


def write_probe(directory: Path, precision: str) -> tuple[Path, Path]:
    """Write `probe-PRECISION.onnx` and a JSON description of its weights file; return both paths.

    Inputs are those of a bundle, with a choice of the layers that run (0: no, 1: yes), and `states_H` float (1, tokens,
    H) for the layers of each hidden size H.
    """
    recipe = RECIPES[precision]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"probe-{precision}.onnx"
        _build(recipe).save(path)
        model = onnx.load(path, load_external_data=False)
    weights = [
        _place(tensor) for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    graph, listing = directory / f"probe-{precision}.onnx", directory / f"probe-{precision}.json"
    graph.write_bytes(model.SerializeToString(deterministic=True))
    lines = ",\n ".join(json.dumps(place) for place in weights)
    head_sizes = json.dumps({layer.hidden: layer.head_size for layer in LAYERS})
    listing.write_text(f'{{"head_sizes": {head_sizes},\n"weights": [\n {lines}\n]}}\n', encoding="utf-8")
    return graph, listing


def _place(tensor: onnx.TensorProto) -> list[object]:
    """Return type, first byte and bytes of a tensor in the weights file."""
    place = {entry.key: int(entry.value) for entry in tensor.external_data if entry.key != "location"}
    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).name
    return [kind, place["offset"], place["length"]]


def _build(recipe: Recipe) -> GraphBuilder:
    """Build the graph as in a bundle: embeddings, switches and a head in the root, layers in branches of an `If`."""
    builder = GraphBuilder()
    root = builder.root
    ids, given, types = (builder.input(name, (1, "tokens")) for name in INPUTS)
    choice = builder.input(CHOICE, (len(LAYERS),))
    states = {
        hidden: builder.input(f"states_{hidden}", (1, "tokens", hidden), onnx.TensorProto.FLOAT)
        for hidden in dict.fromkeys(layer.hidden for layer in LAYERS)
    }
    mask = recipe.mask(root, given)
    weights = _embedding_weights()
    norm = partial(_named_norm, builder)
    embedded = embed(root, weights, recipe, ids, types, norm)
    for number in range(PASSED):
        chosen = root.value("Equal", [_chosen(builder, choice, 0), builder.constant(f"never{number}", -1 - number)])
        branch = Scope(builder)
        embedded = builder.switch(chosen, branch, branch.value("Identity", [embedded]), embedded)
    answers = [answer(root, weights, Head(), recipe, first_row(root, embedded), given, norm)]
    nothing = builder.weight("nothing", np.zeros((), np.float32))
    for number, layer in enumerate(LAYERS):
        run = root.value("Equal", [_chosen(builder, choice, number), builder.constant("run", 1)])
        branch = Scope(builder)
        last = _layer(branch, recipe, f"layer{number}", layer, states[layer.hidden], mask)
        answers.append(builder.switch(run, branch, branch.value("ReduceMean", [last], keepdims=0), nothing))
    builder.output(root.value("Sum", answers), "answer", (1, LABELS))
    return builder


def _chosen(builder: GraphBuilder, choice: str, layer: int) -> str:
    return builder.root.value("Gather", [choice, builder.constant(f"layer{layer}.place", layer)])


def _embedding_weights() -> dict[str, Array]:
    shapes = {
        "embeddings.word.weight": (VOCABULARY, EMBEDDED),
        "embeddings.position.weight": (POSITIONS, EMBEDDED),
        "embeddings.token_type.weight": (2, EMBEDDED),
        "embeddings.norm.weight": (EMBEDDED,),
        "embeddings.norm.bias": (EMBEDDED,),
        "pooler.weight": (EMBEDDED, EMBEDDED),
        "pooler.bias": (EMBEDDED,),
        "classifier.weight": (LABELS, EMBEDDED),
        "classifier.bias": (LABELS,),
    }
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def _named_norm(builder: GraphBuilder, scope: Scope, value: str, name: str, norm: tuple[Array, Array]) -> str:
    scale, shift = (
        builder.weight(f"{name}.{part}", array) for part, array in zip(("scale", "shift"), norm, strict=True)
    )
    return scope.value("LayerNormalization", [value, scale, shift], axis=-1, epsilon=1e-12)


def _layer(scope: Scope, recipe: Recipe, name: str, layer: ProbeLayer, states: str, mask: str) -> str:
    rows = first_row if layer.first_token else _all_rows
    heads = [_heads(name, number, layer, count) for number, count in enumerate(layer.heads)]
    bias = np.zeros(layer.hidden, np.float32)
    terms = recipe.attention(scope, states, View(mask), heads, bias, f"{name}.attention_bias", rows)
    states = _norm(scope, name, "attention", [*terms, rows(scope, states)], layer.hidden)
    neurons = [_neurons(name, number, layer.hidden, count) for number, count in enumerate(layer.neurons)]
    terms = recipe.ffn(scope, states, neurons, bias, f"{name}.ffn_bias")
    return _norm(scope, name, "ffn", [*terms, states], layer.hidden)


def _heads(name: str, number: int, layer: ProbeLayer, heads: int) -> HeadSegment:
    hidden, width = layer.hidden, heads * layer.head_size
    qkv, bias, output = _zeros((hidden, 3 * width), (3 * width,), (width, hidden))
    return HeadSegment(f"{name}.heads{number}", heads, heads, qkv, bias, output)


def _neurons(name: str, number: int, hidden: int, neurons: int) -> NeuronSegment:
    into, bias, out = _zeros((hidden, neurons), (neurons,), (neurons, hidden))
    return NeuronSegment(f"{name}.neurons{number}", neurons, into, bias, out)


def _zeros(*shapes: tuple[int, ...]) -> list[Array]:
    return [np.zeros(shape, np.float32) for shape in shapes]


def _norm(scope: Scope, name: str, half: str, terms: Sequence[str], hidden: int) -> str:
    shape = (hidden,)
    norm = (np.ones(shape, np.float32), np.zeros(shape, np.float32))
    return _named_norm(scope.builder, scope, scope.value("Sum", list(terms)), f"{name}.{half}_norm", norm)


def _all_rows(scope: Scope, value: str) -> str:
    return value


def main(directory: str) -> None:
    """Write the probes of all CPU precisions."""
    for precision in CPU_PRECISIONS:
        write_probe(Path(directory), precision)


if __name__ == "__main__":
    main(*sys.argv[1:])
