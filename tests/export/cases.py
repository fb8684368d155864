"""Spaces with models of random weights, written as graphs, that the tests of the graph share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch

from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Option, Space, Stage, cut_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.model.elastic import ElasticClassifier
from tests.trainer.tiny import random_model

TOLERANCE = 1e-4
LENGTHS = ([1], [2], [17], [32], [17] * 4, [17, 1, 32, 2])

FOUR = EncoderShape(layers=4, hidden=32, heads=4, neurons=64, vocabulary=100, positions=32, types=2)
FIVE = EncoderShape(layers=5, hidden=32, heads=4, neurons=48, vocabulary=100, positions=32, types=2)
GRID = list(uniform_grid(FOUR).values())
SKIP = (0, 0)
UNEVEN = Space(
    FIVE,
    (
        Stage(0, (Option(((4, 48),)), Option(((2, 48),)), Option(((4, 16),)))),
        # Two layers that are switched together, and may each keep something else, or nothing.
        Stage(
            1, (Option(((4, 48), (4, 48))), Option(((1, 20), SKIP)), Option((SKIP, SKIP)), Option(((3, 33), (2, 7))))
        ),
        Stage(3, (Option(((3, 40),)), Option((SKIP,)))),  # a layer that no option keeps whole
        Stage(4, (Option(((4, 48),)),)),  # a layer that is always there
    ),
)


@dataclass(frozen=True)
class Case:
    """A model with its space, its graphs in a folder, and the subnets to compare."""

    model: ElasticClassifier
    space: Space
    subnets: Sequence[Subnet]
    folder: Path

    def path(self, precision: str) -> Path:
        return self.folder / f"{precision}.onnx"

    @property
    def weights(self) -> dict[str, Array]:
        return {name: tensor.numpy() for name, tensor in self.model.state_dict().items()}

    def session(self, precision: str) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        return ort.InferenceSession(str(self.path(precision)), options, providers=["CPUExecutionProvider"])

    @torch.no_grad()
    def expected(self, batch: Batch) -> list[Array]:
        return [self.model(batch, subnet).logits.numpy() for subnet in self.subnets]


SPACES: Mapping[str, tuple[Space, Sequence[Subnet]]] = {
    "layer": (cut_space(FOUR, GRID, 1), GRID),
    "block": (cut_space(FOUR, GRID, 2), GRID),
    "pool": (cut_space(FOUR, GRID, 4), GRID),
    "uneven": (UNEVEN, [UNEVEN.subnet(c) for c in itertools.product(range(3), range(4), range(2), range(1))]),
}
"""Spaces with their subnets: what `--granularity` makes of a pool, and one that no pool of the trainer's has."""


def write_case(name: str, folder: Path, precisions: Sequence[str], operators: str = "fast") -> Case:
    """A space's graphs, one per precision."""
    space, subnets = SPACES[name]
    case = Case(random_model(space.shape), space, subnets, folder)
    for precision in precisions:
        write_elastic_graph(
            case.path(precision),
            case.weights,
            space,
            precision=precision,
            norm_eps=case.model.norm_eps,
            operators=operators,
        )
    return case


def inputs_of(batch: Batch) -> dict[str, Array]:
    return {name: getattr(batch, name).numpy() for name in ("input_ids", "attention_mask", "token_type_ids")}


def run(session: ort.InferenceSession, batch: Batch, choice: Sequence[int]) -> Array:
    feeds = {**inputs_of(batch), "choice": np.array(choice, np.int64)}
    return np.asarray(session.run(["logits"], feeds)[0])


def branches(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside a graph's nodes."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield attribute.g
