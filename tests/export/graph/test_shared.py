"""Layers that share their weights: any subnet of a graph answers as torch does, and every weight is stored once."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS
from gearshift.runtime.space.space import layer_space
from gearshift.runtime.space.subnet import Subnet
from tests.export.cases import FIVE, SKIP, TOLERANCE, Case, run
from tests.trainer.tiny import random_batch, random_model

SHAPE = dataclasses.replace(FIVE, embedding=16, shared=True)
WHOLE = (4, 48)
SUBNETS = [Subnet(layers) for layers in ((WHOLE,) * 5, (SKIP, (3, 20), WHOLE, SKIP, (2, 48)), (SKIP,) * 4 + ((1, 7),))]


@pytest.mark.parametrize("precision", CPU_PRECISIONS)
def test_layers_of_any_size_answer_from_one_set_of_weights(precision: str, tmp_path: Path) -> None:
    space = layer_space(SHAPE, SUBNETS)
    case = Case(random_model(SHAPE), space, SUBNETS, tmp_path)
    write_elastic_graph(case.path(precision), case.weights, space, precision=precision, norm_eps=case.model.norm_eps)
    session, batch = case.session(precision), random_batch([17, 1, 32, 2], SHAPE)
    for subnet, expected in zip(SUBNETS, case.expected(batch), strict=True):
        difference = np.abs(run(session, batch, space.choice(subnet)) - expected)
        if precision == "fp32":
            assert difference.max() < TOLERANCE
        else:
            assert difference.mean() / expected.std() < 0.1
    graph = onnx.load(case.path(precision), load_external_data=False).graph
    named = {tensor.name.split(".")[0] for tensor in graph.initializer if tensor.name.startswith("layer")}
    assert named == {"layer0"}
    assert space.head_cuts(0) == space.head_cuts(4) == (1, 2, 3, 4)


def test_a_set_of_weights_counts_once_and_its_products_each_time() -> None:
    full, part, small = SUBNETS
    assert full.parameters(SHAPE) == part.parameters(SHAPE) > small.parameters(SHAPE)
    assert full.macs(SHAPE, 9) > part.macs(SHAPE, 9) > small.macs(SHAPE, 9)
    own = dataclasses.replace(SHAPE, shared=False)
    assert full.macs(SHAPE, 9) == full.macs(own, 9)
    assert full.parameters(own) - full.parameters(SHAPE) == 4 * sum(part.parameters for part in own.layer_parts(WHOLE))
