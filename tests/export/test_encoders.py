"""Every encoder with every head: what torch answers, the elastic graph answers, for every subnet and in standard
operators too."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch

from gearshift.export.checks.guard import check_packed
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.export.graph.switched import token_inputs
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.space.space import Space, layer_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.model.configs import read_config
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.huggingface import load_model
from tests.trainer.encoders import CASES, HEADS, POSITIONS, HeadCase, batch_for, write_model

TOLERANCE = 1e-5
APART = 1e-2
STANDARD = "standard"
LENGTHS = ([1], [2], [17], [POSITIONS], [17] * 4, [17, 1, POSITIONS, 2])


@dataclass(frozen=True)
class Case:
    head: HeadCase
    theirs: Any
    model: ElasticClassifier
    space: Space
    subnets: list[Subnet]
    folder: Path

    def session(self, precision: str) -> ort.InferenceSession:
        options = ort.SessionOptions()
        if precision != STANDARD:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        path = self.folder / f"{precision}.onnx"
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, session: ort.InferenceSession, batch: Batch, subnet: Subnet) -> Array:
        """The answer, of real tokens only where every token gets one."""
        feeds = {name: getattr(batch, name).numpy() for name in token_inputs(self.space.shape)}
        feeds["choice"] = np.array(self.space.choice(subnet), np.int64)
        (answer,) = session.run([TASKS[self.head.task].output], feeds)
        return self.real(batch, np.asarray(answer))

    @torch.no_grad()
    def expected(self, batch: Batch, subnet: Subnet) -> Array:
        return self.real(batch, self.model(batch, subnet).logits.numpy())

    def real(self, batch: Batch, answer: Array) -> Array:
        return answer[batch.attention_mask.numpy().astype(bool)] if TASKS[self.head.task].per_token else answer


@pytest.fixture(scope="module", params=CASES, ids=", ".join)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    encoder, head = request.param[0], HEADS[request.param[1]]
    folder = tmp_path_factory.mktemp("encoder")
    theirs = write_model(folder, encoder, head)
    model = load_model(folder, read_config(folder), head.task, head.outputs)[0].eval()
    subnets = list(uniform_grid(model.shape, (1.0, 0.5), (1.0, 0.5)).values())
    space = layer_space(model.shape, subnets)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    for precision in CPU_PRECISIONS:
        path = folder / f"{precision}.onnx"
        write_elastic_graph(path, weights, space, precision=precision, norm_eps=model.norm_eps, head=model.head)
    path = folder / f"{STANDARD}.onnx"
    write_elastic_graph(
        path, weights, space, precision="fp32", norm_eps=model.norm_eps, head=model.head, operators="standard"
    )
    return Case(head, theirs, model, space, subnets, folder)


def test_every_subnet_answers_as_torch_does(case: Case) -> None:
    sessions = [case.session("fp32"), case.session(STANDARD)]
    apart = dict.fromkeys(itertools.combinations(range(len(case.subnets)), 2), 0.0)
    for lengths in LENGTHS:
        batch = batch_for(case.theirs, case.model.shape, lengths)
        expected = [case.expected(batch, subnet) for subnet in case.subnets]
        for one, other in apart:
            apart[one, other] = max(apart[one, other], np.abs(expected[one] - expected[other]).max())
        for subnet, wanted in zip(case.subnets, expected, strict=True):
            for session in sessions:
                found = case.run(session, batch, subnet)
                assert found.shape == wanted.shape
                assert np.abs(found - wanted).max() < TOLERANCE, (lengths, subnet)
    assert min(apart.values()) > APART  # inputs that could not tell subnets apart prove nothing


def test_int8_stays_near_fp32(case: Case) -> None:
    """Twice the bound that tests.export.test_graph derives: a head of one output has few numbers to average over."""
    session = case.session("int8")
    batches = [batch_for(case.theirs, case.model.shape, lengths) for lengths in LENGTHS]
    pairs = [
        (case.run(session, batch, subnet).ravel(), case.expected(batch, subnet).ravel())
        for batch in batches
        for subnet in case.subnets
    ]
    found, expected = (np.concatenate(side) for side in zip(*pairs, strict=True))
    assert 0 < np.abs(found - expected).mean() / expected.std() < 0.08


@pytest.mark.parametrize("precision", CPU_PRECISIONS)
def test_every_large_weight_is_packed(case: Case, precision: str) -> None:
    assert check_packed(case.folder / f"{precision}.onnx") > 0
