"""The graph in standard operators and in half precision, against torch and against ONNX's own evaluator."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from gearshift.errors import ExportError
from gearshift.export.graph.builder import GraphBuilder
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.recipe import added_at_once, added_in_turn
from gearshift.export.graph.segments import Array
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid, uniform_subnet
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.model.elastic import Head
from tests.export.cases import branches, inputs_of
from tests.trainer.tiny import random_batch, random_model

SHAPE = EncoderShape(layers=3, hidden=32, heads=4, neurons=64, vocabulary=100, positions=20, types=2)
MODEL = random_model(SHAPE)
WEIGHTS = {name: tensor.numpy() for name, tensor in MODEL.state_dict().items()}
SUBNETS = uniform_grid(SHAPE, (1.0, 0.5), (1.0, 0.5))
LENGTHS = ([1], [20], [17, 1, 20, 2])
STAGES = {"layer": 1, "block": 2, "pool": 3}

TOLERANCE = {"fp32": 1e-5, "fp16": 0.01}
"""Tolerance of a logit, over the spread of the logits. fp16 keeps 11 bits, so that a value is off by 2**-12 = 0.00024
of itself, and some 40 roundings in a row make a random walk of 40**0.5 x 0.00024 = 0.0015 of the spread; the largest
of a hundred logits is off by some three times that. The evaluator rounds sums to fp16 too, which kernels do not."""


def write(folder: Path, precision: str, operators: str, granularity: str, head: Head | None = None) -> Path:
    path = folder / f"{precision}.onnx"
    space = cut_space(SHAPE, list(SUBNETS.values()), STAGES[granularity])
    eps = MODEL.norm_eps
    write_elastic_graph(path, WEIGHTS, space, precision=precision, norm_eps=eps, head=head, operators=operators)
    return path


def feeds(batch: Batch, granularity: str, subnet: Subnet) -> dict[str, Array]:
    space = cut_space(SHAPE, list(SUBNETS.values()), STAGES[granularity])
    return {**inputs_of(batch), "choice": np.array(space.choice(subnet), np.int64)}


def session(path: Path, level: ort.GraphOptimizationLevel) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


LEVELS = (ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)


@torch.no_grad()
def expected(batch: Batch) -> dict[str, Array]:
    answers = {name: MODEL(batch, subnet).logits.numpy() for name, subnet in SUBNETS.items()}
    for one, other in itertools.combinations(answers.values(), 2):  # or else nothing would be compared
        assert np.abs(one - other).max() > 0.1
    return answers


@pytest.mark.parametrize("granularity", STAGES)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_evaluator_of_onnx_and_the_library_answer_as_torch(
    tmp_path: Path, precision: str, granularity: str
) -> None:
    path = write(tmp_path, precision, "standard", granularity)
    onnx.checker.check_model(path, full_check=True)
    reference = ReferenceEvaluator(onnx.load(path))
    sessions = [session(path, level) for level in LEVELS]
    for lengths in LENGTHS:
        batch = random_batch(lengths, SHAPE)
        for name, wanted in expected(batch).items():
            given = feeds(batch, granularity, SUBNETS[name])
            for runner in (reference, *sessions):
                (found,) = runner.run(None, given)
                assert found.dtype == np.float32
                assert found.shape == wanted.shape
                assert np.abs(found - wanted).max() < TOLERANCE[precision] * wanted.std(), (lengths, name)


@pytest.mark.parametrize("granularity", STAGES)
def test_half_precision_in_the_library_s_operators_answers_as_torch_does(tmp_path: Path, granularity: str) -> None:
    """Check on a CPU, which computes each operator in float32 and rounds in between; a GPU also computes in float16."""
    runner = session(write(tmp_path, "fp16", "fast", granularity), LEVELS[0])
    for lengths in LENGTHS:
        batch = random_batch(lengths, SHAPE)
        for name, wanted in expected(batch).items():
            (found,) = runner.run(None, feeds(batch, granularity, SUBNETS[name]))
            assert 1e-5 < np.abs(found - wanted).max() / wanted.std() < TOLERANCE["fp16"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_no_operator_is_of_another_domain(tmp_path: Path, precision: str) -> None:
    model = onnx.load(write(tmp_path, precision, "standard", "layer"), load_external_data=False)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    nodes = [*model.graph.node, *(node for branch in branches(model.graph) for node in branch.node)]
    assert {node.domain for node in nodes} == {""}


@pytest.mark.parametrize("granularity", STAGES)
def test_no_sum_is_left_that_a_gpu_would_have_to_copy_its_terms_for(tmp_path: Path, granularity: str) -> None:
    """ONNX Runtime has no kernel for `Sum` on WebGPU, and copies each term and each result."""
    counts = {}
    for operators in ("fast", "standard"):
        model = onnx.load(write(tmp_path, "fp32", operators, granularity), load_external_data=False)
        nodes = [*model.graph.node, *(node for branch in branches(model.graph) for node in branch.node)]
        counts[operators] = sum(node.op_type == "Sum" for node in nodes)
    assert counts["fast"] > 0 == counts["standard"]


def test_added_in_turn_is_added_at_once_bit_for_bit(tmp_path: Path) -> None:
    """A graph that was exported before gives the same numbers."""
    terms = [np.random.default_rng(number).normal(size=(5, 7)).astype(np.float32) for number in range(5)]
    builder = GraphBuilder()
    stored = [builder.weight(f"term{number}", term) for number, term in enumerate(terms)]
    for name, add in (("at_once", added_at_once), ("in_turn", added_in_turn)):
        builder.output(add(builder.root, stored), name, (5, 7))
    builder.save(tmp_path / "sums.onnx")
    at_once, in_turn = session(tmp_path / "sums.onnx", LEVELS[0]).run(None, {})
    assert (at_once == in_turn).all()
    assert np.abs(at_once - np.sum(terms, axis=0)).max() < 1e-6


@pytest.mark.parametrize("activation", ["tanh", "gelu", "relu"])
def test_every_pooler_has_a_standard_form(tmp_path: Path, activation: str) -> None:
    head = dataclasses.replace(MODEL.head, activation=activation)
    batch = random_batch([17, 1, 20, 2], SHAPE)
    given = feeds(batch, "pool", SUBNETS["w050-d100"])
    path = write(tmp_path, "fp32", "standard", "pool", head)
    (found,) = ReferenceEvaluator(onnx.load(path)).run(None, given)
    (tmp_path / "fast").mkdir()
    (fast,) = session(write(tmp_path / "fast", "fp32", "fast", "pool", head), LEVELS[0]).run(None, given)
    assert np.abs(found - fast).max() < 1e-5


@pytest.mark.parametrize("operators", ["fast", "standard"])
def test_every_value_between_the_ends_of_the_fp16_graph_is_fp16(tmp_path: Path, operators: str) -> None:
    model = onnx.load(write(tmp_path, "fp16", operators, "layer"))
    floats = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    assert floats == {"no_option"}  # stands for the answer, which is float32
    (output,) = model.graph.output
    assert output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    nodes = [(node, "root") for node in model.graph.node]
    nodes += [(node, branch.name) for branch in branches(model.graph) for node in branch.node]
    widened = [(node, place) for node, place in nodes if node.op_type == "Cast" and node.attribute[0].i == 1]
    assert len(widened) == len({place for _, place in widened}) > 0  # once in each branch that ends in logits
    for constant in onnx.load(write(tmp_path, "fp16", operators, "layer")).graph.initializer:
        if constant.name != "no_option":
            assert np.isfinite(onnx.numpy_helper.to_array(constant)).all()


def test_a_weight_that_half_precision_cannot_hold_is_named(tmp_path: Path) -> None:
    huge = {**WEIGHTS, "layers.1.ffn_in.weight": WEIGHTS["layers.1.ffn_in.weight"] * 1e6}
    space = cut_space(SHAPE, list(SUBNETS.values()), 1)
    message = r"layers\.1\.ffn_in\.weight: expected weights of at most 65504, the limit of float16"
    with pytest.raises(ExportError, match=message):
        write_elastic_graph(tmp_path / "fp16.onnx", huge, space, precision="fp16", norm_eps=1e-12)
    assert not list(tmp_path.iterdir())


def test_disentangled_attention_has_no_fp16_in_standard_operators(tmp_path: Path) -> None:
    shape = dataclasses.replace(SHAPE, position_terms=("c2p",), position_buckets=4, position_farthest=9)
    space = cut_space(shape, [uniform_subnet(shape, 1, 1)], 1)
    with pytest.raises(ExportError, match="fp16: disentangled attention has no standard operators; export fp32, or"):
        write_elastic_graph(
            tmp_path / "fp16.onnx", WEIGHTS, space, precision="fp16", norm_eps=1e-12, operators="standard"
        )
    assert not list(tmp_path.iterdir())
