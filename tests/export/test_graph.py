"""The elastic graph against torch, for every subnet of several spaces, and the rules of its form."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from gearshift.export.graph import write_elastic_graph
from gearshift.export.segments import Array
from gearshift.runtime.space import EncoderShape, Option, Space, Stage, Subnet, layer_space, uniform_grid
from gearshift.trainer.batches import Batch
from gearshift.trainer.model import ElasticClassifier
from tests.export import int8_oracle
from tests.trainer.tiny import random_batch, random_model

TOLERANCE = 1e-4
LENGTHS = ([1], [2], [17], [32], [17] * 4, [17, 1, 32, 2])
PRECISIONS = ("fp32", "int8")

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
    """A model with its space, exported at both precisions, and the subnets to compare."""

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


SPACES = {
    "a stage per layer": (layer_space(FOUR, GRID), GRID),
    "one stage of whole subnets": (Space(FOUR, (Stage(0, tuple(Option(s.layers) for s in GRID)),)), GRID),
    "uneven": (UNEVEN, [UNEVEN.subnet(c) for c in itertools.product(range(3), range(4), range(2), range(1))]),
}


@pytest.fixture(scope="module", params=SPACES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    space, subnets = SPACES[request.param]
    made = Case(random_model(space.shape), space, subnets, tmp_path_factory.mktemp("graph"))
    for precision in PRECISIONS:
        path = made.path(precision)
        write_elastic_graph(path, made.weights, space, precision=precision, norm_eps=made.model.norm_eps)
    return made


@pytest.fixture(scope="module")
def fp32(case: Case) -> ort.InferenceSession:
    return case.session("fp32")


@pytest.fixture(scope="module")
def int8(case: Case) -> ort.InferenceSession:
    return case.session("int8")


def inputs_of(batch: Batch) -> dict[str, Array]:
    return {name: getattr(batch, name).numpy() for name in ("input_ids", "attention_mask", "token_type_ids")}


def run(session: ort.InferenceSession, batch: Batch, choice: Sequence[int]) -> Array:
    feeds = {**inputs_of(batch), "choice": np.array(choice, np.int64)}
    return np.asarray(session.run(["logits"], feeds)[0])


# Numbers


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_every_subnet_answers_as_torch_does(case: Case, fp32: ort.InferenceSession, lengths: list[int]) -> None:
    batch = random_batch(lengths)
    expected = case.expected(batch)
    for one, other in itertools.combinations(expected, 2):  # inputs that could not tell subnets apart prove nothing
        assert np.abs(one - other).max() > 100 * TOLERANCE
    for subnet, logits in zip(case.subnets, expected, strict=True):
        found = run(fp32, batch, case.space.choice(subnet))
        assert found.shape == (len(lengths), 8)
        assert np.abs(found - logits).max() < TOLERANCE, subnet


@pytest.mark.parametrize("precision", ["fp32"])
def test_what_the_library_makes_of_the_graph_with_optimisation_on_answers_the_same(case: Case, precision: str) -> None:
    session = ort.InferenceSession(str(case.path(precision)), providers=["CPUExecutionProvider"])
    batch = random_batch([17, 1, 32, 2])
    for subnet, logits in zip(case.subnets, case.expected(batch), strict=True):
        assert np.abs(run(session, batch, case.space.choice(subnet)) - logits).max() < TOLERANCE


def test_calls_of_different_subnets_do_not_disturb_each_other(case: Case, fp32: ort.InferenceSession) -> None:
    batch = random_batch([5, 9])
    choices = [case.space.choice(subnet) for subnet in case.subnets]
    alone = [run(fp32, batch, choice) for choice in choices]
    for choice, logits in zip(reversed(choices), reversed(alone), strict=True):
        assert np.array_equal(run(fp32, batch, choice), logits)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_int8_computes_what_rounded_weights_and_activations_give(
    case: Case, int8: ort.InferenceSession, lengths: list[int]
) -> None:
    """Against the same arithmetic in numpy, where integer products are exact.

    What is left is float rounding: 1e-7 of the spread of the logits for most subnets. Now and then it moves an
    activation across a rounding edge, a whole step of 1/255 of its range, which moved the logits by up to 1 %.
    """
    batch = random_batch(lengths)
    expected = np.stack(
        [
            int8_oracle.logits(case.weights, case.space, subnet, inputs_of(batch), case.model.norm_eps)
            for subnet in case.subnets
        ]
    )
    found = np.stack([run(int8, batch, case.space.choice(subnet)) for subnet in case.subnets])
    errors = np.abs(found - expected).mean(axis=(1, 2)) / expected.std()
    assert np.median(errors) < 1e-5
    assert errors.max() < 0.02


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_int8_stays_near_fp32(case: Case, int8: ort.InferenceSession, lengths: list[int]) -> None:
    """A step of seven bits is 1/63 of the largest of 32 to 64 Gaussian weights, some 0.035 of their spread; rounding
    is off by 1/sqrt(12) of it, 1 %, and every product with it. Each is added to a residual of its own size, which
    halves its share, and eight to ten half-layers add up as a random walk: 1 % x sqrt(1/2) x sqrt(9) = 2 %.
    """
    batch = random_batch(lengths)
    expected = np.stack(case.expected(batch))
    found = np.stack([run(int8, batch, case.space.choice(subnet)) for subnet in case.subnets])
    assert np.abs(found - expected).mean() / expected.std() < 0.04
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


# Form


def branches(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield attribute.g


@pytest.fixture(params=PRECISIONS)
def model(request: pytest.FixtureRequest, case: Case) -> onnx.ModelProto:
    return onnx.load(case.path(request.param), load_external_data=False)


def test_a_branch_holds_neither_weights_nor_another_if(model: onnx.ModelProto) -> None:
    inside = list(branches(model.graph))
    assert inside
    for branch in inside:
        assert not branch.initializer
        assert not branch.sparse_initializer
        assert not {"If", "Loop", "Scan", "Constant"} & {node.op_type for node in branch.node}


def test_there_is_one_switch_for_every_option_that_does_something(case: Case, model: onnx.ModelProto) -> None:
    switches = [node for node in model.graph.node if node.op_type == "If"]
    switched = [stage for stage in case.space.stages if len(stage.options) > 1]
    last = case.space.stages[-1]  # whose options all end in logits, also the one that skips it
    assert len(switches) == sum(stage is last or not option.skips for stage in switched for option in stage.options)
    for switch in switches:
        otherwise = next(attribute.g for attribute in switch.attribute if attribute.name == "else_branch")
        assert [node.op_type for node in otherwise.node] == ["Identity"]


def test_nothing_is_sliced_by_the_choice(model: onnx.ModelProto) -> None:
    """Only the position table is cut at run time, to the length of the text; of the others, rows are looked up."""
    nodes = [*model.graph.node, *(node for branch in branches(model.graph) for node in branch.node)]
    assert [node.input[0] for node in nodes if node.op_type == "Slice"] == ["embeddings.position.weight"]
    matrices = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    gathered = {node.input[0] for node in nodes if node.op_type == "Gather"} & matrices
    assert {name.removesuffix(".rows").removesuffix(".scales") for name in gathered} == {
        "embeddings.word.weight",
        "embeddings.token_type.weight",
    }


def kept_parameters(case: Case) -> int:
    """Weights that some option keeps, counted from the model."""
    total = 0
    for name, tensor in case.model.state_dict().items():
        rows, columns = tensor.shape if tensor.ndim == 2 else (tensor.shape[0], 1)
        if name.startswith("layers."):
            _, layer, part, _ = name.split(".")
            heads, neurons = (max(c, default=0) for c in (
                case.space.head_cuts(int(layer)), case.space.neuron_cuts(int(layer))
            ))  # fmt: skip
            inner = heads * case.space.shape.head_size
            if part in ("query", "key", "value"):
                rows = inner
            elif part == "attention_output" and tensor.ndim == 2:
                columns = inner
            elif part == "ffn_in":
                rows = neurons
            elif part == "ffn_out" and tensor.ndim == 2:
                columns = neurons
        total += rows * columns
    return total


def test_every_weight_is_stored_exactly_once(case: Case) -> None:
    graph = onnx.load(case.path("fp32")).graph
    assert max(Counter(tensor.name for tensor in graph.initializer).values()) == 1
    weights = [tensor for tensor in graph.initializer if tensor.name != "no_option"]  # stands for logits
    stored = [onnx.numpy_helper.to_array(tensor) for tensor in weights]
    floats = np.concatenate([array.ravel() for array in stored if array.dtype == np.float32])
    assert floats.size == kept_parameters(case)
    assert np.unique(floats).size > 0.99 * floats.size  # the weights are random: a second copy would show


def test_int8_stores_the_same_weights_in_a_byte_each(case: Case) -> None:
    graphs = {precision: onnx.load(case.path(precision)).graph for precision in PRECISIONS}
    arrays = {
        precision: {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for precision, graph in graphs.items()
    }
    words = arrays["int8"].pop("embeddings.word.weight.rows")
    assert words.dtype == np.int8
    back = words * arrays["int8"]["embeddings.word.weight.scales"]
    assert np.corrcoef(back.ravel(), arrays["fp32"]["embeddings.word.weight"].ravel())[0, 1] > 0.9999
    bytes_each = {name: array for name, array in arrays["int8"].items() if array.ndim == 2 and array.dtype == np.int8}
    matrices = {name: array for name, array in arrays["fp32"].items() if name in bytes_each}
    assert sum(array.ndim == 2 and name.startswith("layer") for name, array in arrays["fp32"].items()) == len(
        bytes_each
    )
    for name, array in bytes_each.items():
        assert array.shape == matrices[name].shape
        assert np.abs(array).max() <= 63
        back = array * arrays["int8"][f"{name}.scale"]
        assert np.corrcoef(back.ravel(), matrices[name].ravel())[0, 1] > 0.999


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_weights_file_holds_each_tensor_in_a_place_of_its_own(case: Case, precision: str) -> None:
    path = case.path(precision)
    model = onnx.load(path, load_external_data=False)
    places = []
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entry = {pair.key: pair.value for pair in tensor.external_data}
            assert entry["location"] == f"{precision}.weights"
            places.append((int(entry["offset"]), int(entry["length"])))
    places.sort()
    for (start, length), (following, _) in itertools.pairwise(places):
        assert start + length <= following < start + length + 64
    size = path.with_suffix(".weights").stat().st_size
    assert places[0][0] == 0
    assert sum(places[-1]) == size


def test_the_graph_takes_and_gives_what_the_bundle_says(case: Case, fp32: ort.InferenceSession) -> None:
    assert {value.name: (value.type, value.shape) for value in fp32.get_inputs()} == {
        "input_ids": ("tensor(int64)", ["batch", "tokens"]),
        "attention_mask": ("tensor(int64)", ["batch", "tokens"]),
        "token_type_ids": ("tensor(int64)", ["batch", "tokens"]),
        "choice": ("tensor(int64)", [len(case.space.stages)]),
    }
    (logits,) = fp32.get_outputs()
    assert (logits.name, logits.type, logits.shape) == ("logits", "tensor(float)", ["batch", 8])


def test_a_choice_that_does_not_exist_gives_no_answer(case: Case, fp32: ort.InferenceSession) -> None:
    batch = random_batch([7])
    beyond = [len(stage.options) for stage in case.space.stages]
    if len(case.space.stages[-1].options) > 1:
        assert np.isnan(run(fp32, batch, beyond)).all()


def test_a_weight_is_read_wherever_it_is_stored(model: onnx.ModelProto) -> None:
    nodes = [*model.graph.node, *(node for branch in branches(model.graph) for node in branch.node)]
    used = {name for node in nodes for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used
