"""Graphs of mixed operations against torch: every operation as the last one, every head form, every precision."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from gearshift.export.checks.guard import check_packed
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.runtime.space.blocks import Block, BlockSubnet
from gearshift.runtime.space.space import BlockSpace
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.model.elastic import Head
from gearshift.trainer.nasbert.model import MixedModel
from tests.export.cases import LENGTHS, TOLERANCE, branches, run
from tests.trainer.nasbert.tiny import lone_space, random_mixed, shared_space
from tests.trainer.tiny import random_batch

SPACES = {"shared": shared_space(), "lone": lone_space(), "lone, as wide as its embeddings": lone_space(embedding=16)}
HEADS = {"classification": Head(), "token-classification": Head("token-classification")}


def subnets_of(space: BlockSpace) -> list[Subnet[Block]]:
    """Every block of every stage, each in a subnet or two."""
    longest = max(len(stage.options) for stage in space.stages)
    choices = ([number % len(stage.options) for stage in space.stages] for number in range(longest))
    return [BlockSubnet(space.subnet(choice).layers) for choice in choices]


def session_of(path: Path, level: str = "DISABLE") -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{level}_ALL")
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def write(path: Path, model: MixedModel, precision: str, operators: str = "fast", wide: Sequence[int] = ()) -> Path:
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    write_elastic_graph(
        path,
        weights,
        model.space,
        precision=precision,
        norm_eps=model.norm_eps,
        head=model.head,
        operators=operators,
        wide=wide,
    )
    return path


@torch.no_grad()
def expected(model: MixedModel, subnet: Subnet[Block], lengths: list[int]) -> Array:
    return np.asarray(model(random_batch(lengths), subnet).logits.numpy())


@pytest.mark.parametrize("operators", ["fast", "standard"])
@pytest.mark.parametrize("task", HEADS)
@pytest.mark.parametrize("name", SPACES)
def test_every_block_answers_as_torch_does(tmp_path: Path, name: str, task: str, operators: str) -> None:
    model = random_mixed(SPACES[name], head=HEADS[task])
    session = session_of(write(tmp_path / "x.onnx", model, "fp32", operators))
    for lengths in LENGTHS:
        batch = random_batch(lengths)
        real = batch.attention_mask.numpy().astype(bool) if task == "token-classification" else ...
        for subnet in subnets_of(model.space):
            found = run(session, batch, model.space.choice(subnet))
            assert np.abs(found - expected(model, subnet, lengths))[real].max() < TOLERANCE, subnet.name


def test_subnets_are_told_apart_by_what_they_are_compared_on() -> None:
    model = random_mixed(SPACES["shared"])
    answers = [expected(model, subnet, LENGTHS[-1]) for subnet in subnets_of(model.space)]
    for one, other in itertools.combinations(answers, 2):
        assert np.abs(one - other).max() > 100 * TOLERANCE


@pytest.mark.parametrize("name", SPACES)
def test_int8_stays_near_fp32(tmp_path: Path, name: str) -> None:
    model = random_mixed(SPACES[name])
    path = write(tmp_path / "x.onnx", model, "int8")
    assert check_packed(path) > 0
    session, batch = session_of(path), random_batch([17, 1, 32, 2])
    found = np.stack([run(session, batch, model.space.choice(subnet)) for subnet in subnets_of(model.space)])
    exact = np.stack([expected(model, subnet, [17, 1, 32, 2]) for subnet in subnets_of(model.space)])
    assert np.abs(found - exact).mean() / exact.std() < 0.06
    assert np.abs(found - exact).max() > TOLERANCE  # something was rounded


def test_stages_can_stay_in_fp32_within_an_int8_graph(tmp_path: Path) -> None:
    model = random_mixed(SPACES["lone"])
    batch, subnet = random_batch([17, 9]), subnets_of(SPACES["lone"])[0]
    errors = []
    for wide in ((), (0, 1), (0, 1, 2)):
        session = session_of(write(tmp_path / "x.onnx", model, "int8", wide=wide))
        errors.append(float(np.abs(run(session, batch, (0, 0, 0)) - expected(model, subnet, [17, 9])).mean()))
    assert errors[2] < min(errors[:2]) / 2  # what is left is the word table's rounding


def test_a_lone_net_has_no_switches_and_every_weight_lies_in_the_root_once(tmp_path: Path) -> None:
    for name in SPACES:
        model = random_mixed(SPACES[name])
        graph = onnx.load(write(tmp_path / "x.onnx", model, "fp32"), load_external_data=False).graph
        assert bool(list(branches(graph))) == (name == "shared")
        assert not [branch for branch in branches(graph) if branch.initializer or list(branches(branch))]
        stored = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer if tensor.data_type == 1)
        assert stored - (name == "shared") == sum(p.numel() for p in model.parameters())  # and the NaN of no option


def test_padding_changes_nothing(tmp_path: Path) -> None:
    model = random_mixed(SPACES["shared"])
    session = session_of(write(tmp_path / "x.onnx", model, "fp32"))
    alone, padded = random_batch([5]), random_batch([5, 20])
    for name in ("input_ids", "token_type_ids"):
        getattr(padded, name)[0, :5] = getattr(alone, name)[0]
    for subnet in subnets_of(model.space):
        choice = model.space.choice(subnet)
        assert np.abs(run(session, alone, choice)[0] - run(session, padded, choice)[0]).max() < TOLERANCE
