"""The graph in operators for GPUs, against torch; here they run on a CPU, whose kernels take the same inputs."""

import itertools
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.uniform import uniform_grid
from tests.export.cases import branches, inputs_of
from tests.trainer.tiny import random_batch, random_model

SHAPE = EncoderShape(layers=3, hidden=32, heads=4, neurons=64, vocabulary=100, positions=20, types=2)
MODEL = random_model(SHAPE)
WEIGHTS = {name: tensor.numpy() for name, tensor in MODEL.state_dict().items()}
SUBNETS = uniform_grid(SHAPE, (1.0, 0.75, 0.5, 0.25), (1.0, 0.5))
STAGES = {"layer": 1, "pool": 3}
TOLERANCE = {"fp32": 1e-5, "fp16": 0.01}
"""Largest difference by precision, that of test_standard."""


def write(folder: Path, precision: str, granularity: str, operators: str = "gpu") -> Path:
    path = folder / f"{operators}-{precision}.onnx"
    space = cut_space(SHAPE, list(SUBNETS.values()), STAGES[granularity])
    write_elastic_graph(path, WEIGHTS, space, precision=precision, norm_eps=MODEL.norm_eps, operators=operators)
    return path


def nodes_of(path: Path) -> list[onnx.NodeProto]:
    graph = onnx.load(path, load_external_data=False).graph
    return [*graph.node, *(node for branch in branches(graph) for node in branch.node)]


def session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("granularity", STAGES)
@pytest.mark.parametrize("precision", TOLERANCE)
@torch.no_grad()
def test_every_subnet_answers_as_torch_at_every_length_and_in_batches(
    tmp_path: Path, precision: str, granularity: str
) -> None:
    runner = session(write(tmp_path, precision, granularity))
    space = cut_space(SHAPE, list(SUBNETS.values()), STAGES[granularity])
    for lengths in ([1], [20], [17, 1, 20, 2]):
        batch = random_batch(lengths, SHAPE)
        wanted = {name: MODEL(batch, subnet).logits.numpy() for name, subnet in SUBNETS.items()}
        answers = list(wanted.values())
        assert all(np.abs(one - other).max() > 1e-3 for one, other in itertools.pairwise(answers))
        for name, subnet in SUBNETS.items():
            given: dict[str, Array] = {**inputs_of(batch), "choice": np.array(space.choice(subnet), np.int64)}
            (found,) = runner.run(None, given)
            off = np.abs(found - wanted[name]).max()
            assert off < TOLERANCE[precision] * wanted[name].std(), (lengths, name)


def test_an_option_has_one_product_of_each_kind_and_no_norm_apart_from_its_sum(tmp_path: Path) -> None:
    counts = {}
    for operators in ("fast", "gpu"):
        found = [node.op_type for node in nodes_of(write(tmp_path, "fp32", "pool", operators))]
        counts[operators] = {kind: found.count(kind) for kind in set(found)}
    layers = sum(len(list(subnet.kept())) for subnet in SUBNETS.values())
    assert counts["gpu"]["MultiHeadAttention"] == layers < counts["fast"]["Attention"]
    assert counts["gpu"]["SkipLayerNormalization"] == 2 * layers
    assert counts["gpu"]["LayerNormalization"] == 1  # that of the embeddings
    assert counts["gpu"]["MatMul"] == 4 * layers
    assert "Sum" not in counts["gpu"]
    assert "Attention" not in counts["gpu"]


def test_attention_is_told_lengths(tmp_path: Path) -> None:
    """For a mask of two dimensions, CUDA has no fused kernel."""
    nodes = nodes_of(write(tmp_path, "fp16", "layer"))
    made = {name: node for node in nodes for name in node.output}
    masks = {node.input[4] for node in nodes if node.op_type == "MultiHeadAttention"}
    assert len(masks) == 1
    cast = made[masks.pop()]
    assert (cast.op_type, made[cast.input[0]].op_type) == ("Cast", "ReduceSum")
