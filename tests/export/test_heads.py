"""Every encoder with two heads: what torch answers by each, the graph answers, for every subnet and in standard
operators too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from gearshift.export.checks.guard import check_packed
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.export.graph.switched import token_inputs
from gearshift.runtime.space.space import Space, layer_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.model.configs import read_config
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.huggingface import load_joint_model
from tests.trainer.encoders import ENCODERS, HEADS, POSITIONS, batch_for, write_model

TOLERANCE = 1e-5
FORMS = ("ModernBERT, mean",)
PARTS = {"intent": ("classification", 3), "slots": ("token-classification", 5)}
OUTPUTS = ["logits.intent", "logits.slots"]
GRAPHS = {"fp32": ("fp32", "fast"), "standard": ("fp32", "standard"), "int8": ("int8", "fast")}


@dataclass(frozen=True)
class Case:
    model: ElasticClassifier
    space: Space
    subnets: list[Subnet]
    batch: Batch
    folder: Path

    def answers(self, graph: str, subnet: Subnet) -> list[Array]:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        if graph != "standard":
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(str(self.folder / f"{graph}.onnx"), options, ["CPUExecutionProvider"])
        feeds = {name: getattr(self.batch, name).numpy() for name in token_inputs(self.space.shape)}
        return self.real(session.run(OUTPUTS, {**feeds, "choice": np.array(self.space.choice(subnet), np.int64)}))

    @torch.no_grad()
    def expected(self, subnet: Subnet) -> list[Array]:
        return self.real([logits.numpy() for logits in self.model(self.batch, subnet).logits])

    def real(self, answers: list[Array]) -> list[Array]:
        label, tags = answers
        return [label, tags[self.batch.attention_mask.numpy().astype(bool)]]


@pytest.fixture(scope="module", params=[*ENCODERS, *FORMS])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("encoder")
    theirs = write_model(folder, request.param, HEADS["classification"])
    torch.manual_seed(1)
    model = load_joint_model(folder, read_config(folder), PARTS).eval()
    subnets = list(uniform_grid(model.shape, (1.0, 0.5), (1.0, 0.5)).values())
    space = layer_space(model.shape, subnets)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    for name, (precision, operators) in GRAPHS.items():
        write_elastic_graph(
            folder / f"{name}.onnx",
            weights,
            space,
            precision=precision,
            norm_eps=model.norm_eps,
            head=model.head,
            operators=operators,
        )
    return Case(model, space, subnets, batch_for(theirs, model.shape, [17, 1, POSITIONS, 2]), folder)


def test_every_subnet_answers_by_both_heads_as_torch_does(case: Case) -> None:
    for subnet in case.subnets:
        wanted = case.expected(subnet)
        for graph in ("fp32", "standard"):
            for found, expected in zip(case.answers(graph, subnet), wanted, strict=True):
                assert found.shape == expected.shape
                assert np.abs(found - expected).max() < TOLERANCE, (graph, subnet)
        for found, expected in zip(case.answers("int8", subnet), wanted, strict=True):
            assert np.abs(found - expected).mean() < 0.1 * max(expected.std(), 0.1), subnet


def test_a_head_is_what_it_would_be_alone(case: Case) -> None:
    """The label's answer is that of the model with this head alone, whose checkpoint has a classifier."""
    single = ElasticClassifier(
        case.model.shape, 3, head=case.model.head.parts[0].head, norm_eps=case.model.norm_eps, heads=case.model.heads
    ).eval()
    own = {name.removeprefix("task_heads.0."): one for name, one in case.model.head_state().items() if ".0." in name}
    single.load_state_dict({**case.model.encoder_state(), **own})
    with torch.no_grad():
        alone = single(case.batch, case.subnets[-1]).logits.numpy()
    assert np.abs(case.answers("fp32", case.subnets[-1])[0] - alone).max() < TOLERANCE


def test_the_heads_stand_in_the_root_graph_once(case: Case) -> None:
    graph = onnx.load(case.folder / "fp32.onnx", load_external_data=False).graph
    assert [output.name for output in graph.output] == OUTPUTS
    used = [name for node in graph.node for name in node.input if name.startswith("task_heads.")]
    stored = [tensor.name for tensor in graph.initializer if tensor.name.startswith("task_heads.")]
    assert sorted(used) == sorted(stored) and len(stored) >= 3
    assert check_packed(case.folder / "fp32.onnx") > 0


def test_an_option_that_there_is_not_gives_no_answer(case: Case) -> None:
    session = ort.InferenceSession(str(case.folder / "fp32.onnx"), providers=["CPUExecutionProvider"])
    feeds = {name: getattr(case.batch, name).numpy() for name in token_inputs(case.space.shape)}
    choice = np.full(len(case.space.stages), 99, np.int64)
    try:
        answers = session.run(OUTPUTS, {**feeds, "choice": choice})
    except Exception as error:  # onnxruntime's own, of a matrix that does not fit
        assert "nan" not in str(error)
        return
    assert all(np.isnan(answer).all() for answer in answers)
