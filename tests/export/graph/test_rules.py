"""The rules that the elastic graph keeps, by number, at every granularity and precision (DESIGN section 4).

Rule 9's static graphs have tests of their own, and the numbers of rule 10 are compared on aarch64 in tests/arm64.
"""

import ctypes
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from gearshift.export.checks.guard import LARGE_BYTES, check_packed, packs_integers
from gearshift.export.pipeline import ExportReport
from gearshift.export.prepare import SESSION_OPTIONS
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS, PRECISIONS
from gearshift.runtime.inference.session import ElasticSession
from tests.export.cases import SPACES, Case, branches, run, write_case
from tests.trainer.tiny import random_batch


@pytest.fixture(scope="module", params=SPACES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(request.param, tmp_path_factory.mktemp("graph"), PRECISIONS)


@pytest.fixture(params=PRECISIONS)
def model(request: pytest.FixtureRequest, case: Case) -> onnx.ModelProto:
    return onnx.load(case.path(request.param), load_external_data=False)


def all_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [*model.graph.node, *(node for branch in branches(model.graph) for node in branch.node)]


def load(path: Path, *, save_as: Path | None = None, packed: bool = False) -> ort.InferenceSession:
    """A session with the options that a bundle names; on request, what it made of the graph is saved."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if save_as is not None:
        options.optimized_model_filepath = str(save_as)
        for key, value in {
            "session.optimized_model_external_initializers_file_name": save_as.with_suffix(".weights").name,
            "session.optimized_model_external_initializers_min_size_in_bytes": str(LARGE_BYTES),
            "session.save_external_prepacked_constant_initializers": str(int(packed)),
        }.items():
            options.add_session_config_entry(key, value)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


# Rule 1: every weight once, in the root graph, in one external file


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


def test_rule_1_every_weight_is_stored_exactly_once(case: Case) -> None:
    graph = onnx.load(case.path("fp32")).graph
    assert max(Counter(tensor.name for tensor in graph.initializer).values()) == 1
    weights = [tensor for tensor in graph.initializer if tensor.name != "no_option"]  # stands for logits
    stored = [onnx.numpy_helper.to_array(tensor) for tensor in weights]
    floats = np.concatenate([array.ravel() for array in stored if array.dtype == np.float32])
    assert floats.size == kept_parameters(case)
    assert np.unique(floats).size > 0.99 * floats.size  # the weights are random: a second copy would show


def test_rule_1_int8_stores_the_same_weights_in_a_byte_each(case: Case) -> None:
    graphs = {precision: onnx.load(case.path(precision)).graph for precision in CPU_PRECISIONS}
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
def test_rule_1_the_weights_file_holds_each_tensor_in_a_place_of_its_own(case: Case, precision: str) -> None:
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


def test_rule_1_nothing_is_sliced_by_the_choice(model: onnx.ModelProto) -> None:
    """Only the position table is cut at run time, to the length of the text; of the others, rows are looked up."""
    nodes = all_nodes(model)
    assert [node.input[0] for node in nodes if node.op_type == "Slice"] == ["embeddings.position.weight"]
    matrices = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    gathered = {node.input[0] for node in nodes if node.op_type == "Gather"} & matrices
    assert {name.removesuffix(".rows").removesuffix(".scales") for name in gathered} == {
        "embeddings.word.weight",
        "embeddings.token_type.weight",
    }


def test_rule_1_a_weight_is_read_wherever_it_is_stored(model: onnx.ModelProto) -> None:
    nodes = all_nodes(model)
    used = {name for node in nodes for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used


def test_rule_1_fp16_stores_the_same_weights_in_half_the_bytes(case: Case) -> None:
    wide, half = (
        {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(case.path(p)).graph.initializer}
        for p in ("fp32", "fp16")
    )
    assert wide.keys() == half.keys()
    for name, array in half.items():
        if wide[name].dtype == np.float32 and name != "no_option":  # which stands for logits
            assert array.dtype == np.float16
            assert np.array_equal(array, wide[name].astype(np.float16))


# Rule 2: an option is the `then` branch of an `If` in the root graph, and the root computes the conditions


def test_rule_2_there_is_one_switch_for_every_option_that_does_something(case: Case, model: onnx.ModelProto) -> None:
    switches = [node for node in model.graph.node if node.op_type == "If"]
    switched = [stage for stage in case.space.stages if len(stage.options) > 1]
    last = case.space.stages[-1]  # whose options all end in logits, also the one that skips it
    assert len(switches) == sum(stage is last or not option.skips for stage in switched for option in stage.options)
    for switch in switches:
        otherwise = next(attribute.g for attribute in switch.attribute if attribute.name == "else_branch")
        assert [node.op_type for node in otherwise.node] == ["Identity"]


def test_rule_2_conditions_are_computed_in_the_root_from_the_choice_alone(model: onnx.ModelProto) -> None:
    makers = {output: node for node in model.graph.node for output in node.output}
    conditions = [node.input[0] for node in model.graph.node if node.op_type == "If"]
    assert len(set(conditions)) == len(conditions) > 0
    for condition in conditions:
        equal = makers[condition]
        assert equal.op_type == "Equal"
        gather = makers[equal.input[0]]
        assert (gather.op_type, gather.input[0]) == ("Gather", "choice")


# Rule 3: never an `If` inside an `If`; every large weight is packed


def test_rule_3_a_branch_holds_neither_weights_nor_another_if(model: onnx.ModelProto) -> None:
    inside = list(branches(model.graph))
    assert inside
    for branch in inside:
        assert not branch.initializer
        assert not branch.sparse_initializer
        assert not {"If", "Loop", "Scan", "Constant"} & {node.op_type for node in branch.node}


@pytest.mark.parametrize("precision", CPU_PRECISIONS)
def test_rule_3_every_large_weight_is_packed(case: Case, precision: str) -> None:
    graph = onnx.load(case.path(precision)).graph
    large = [t for t in graph.initializer if onnx.numpy_helper.to_array(t).nbytes >= LARGE_BYTES]
    multiplied = [t.name for t in large if len(t.dims) == 2 and not t.name.startswith("embeddings")]
    assert check_packed(case.path(precision)) == len(multiplied) > 0


# Rule 4: a weight is packed once for all the branches that use it


@pytest.mark.parametrize("precision", CPU_PRECISIONS)
def test_rule_4_all_subnets_take_the_memory_of_one_copy(case: Case, tmp_path: Path, precision: str) -> None:
    """Packed and as they were, the weights take some twice their bytes, however many branches read them."""
    if precision == "int8" and not packs_integers():
        pytest.skip("the kernels of this CPU pack no weights of 8 bits: it lacks AVX2")
    load(case.path(precision), save_as=tmp_path / "packed.onnx", packed=True)
    saved = onnx.load(tmp_path / "packed.onnx", load_external_data=False)
    blobs = [
        [entry.value for entry in tensor.external_data if entry.key.startswith("prepacked")]
        for tensor in saved.graph.initializer
    ]
    used = Counter(name for node in all_nodes(saved) for name in node.input)
    packed = [tensor.name for tensor, blob in zip(saved.graph.initializer, blobs, strict=True) if blob]
    assert any(used[name] > 1 for name in packed)  # several branches read it
    assert len(set(packed)) == len(packed) == check_packed(case.path(precision))
    assert max(map(len, blobs)) == 1
    once = case.path(precision).with_suffix(".weights").stat().st_size
    # int8 columns are padded to whole registers: in matrices as small as these that is up to as much again.
    assert (tmp_path / "packed.weights").stat().st_size < (2.5 if precision == "fp32" else 4) * once


# Rule 5: the operators are those of the table, and loading leaves them alone

SHARED = {"Sum", "LayerNormalization", "Add", "Gather", "Slice", "Shape", "Cast", "Tanh", "Gemm"} | {
    "If",
    "Identity",
    "Equal",
}
CHOSEN = {
    "fp32": {"Attention", "MatMul", "BiasGelu"},
    "int8": {"DynamicQuantizeLinear", "QAttention", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "Gelu", "Mul"},
    "fp16": {"Attention", "MatMul", "BiasGelu"},
}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rule_5_the_graph_is_made_of_the_chosen_operators(case: Case, precision: str) -> None:
    model = onnx.load(case.path(precision), load_external_data=False)
    assert {node.op_type for node in all_nodes(model)} == SHARED | CHOSEN[precision]


@pytest.mark.parametrize("precision", CPU_PRECISIONS)
def test_rule_5_loading_leaves_the_operators_as_they_were(case: Case, tmp_path: Path, precision: str) -> None:
    assert SESSION_OPTIONS["graph_optimization_level"] == "disable"  # which is how `load` loads
    load(case.path(precision), save_as=tmp_path / "loaded.onnx")
    before, after = (
        Counter(node.op_type for node in all_nodes(onnx.load(path, load_external_data=False)))
        for path in (case.path(precision), tmp_path / "loaded.onnx")
    )
    assert after == before


def test_rule_5_int8_multiplies_unsigned_activations_by_signed_weights(case: Case) -> None:
    model = onnx.load(case.path("int8"), load_external_data=False)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    nodes = all_nodes(model)
    unsigned = {node.output[0] for node in nodes if node.op_type == "DynamicQuantizeLinear"}  # uint8 by definition
    products = [node for node in nodes if node.op_type in {"QAttention", "MatMulIntegerToFloat"}]
    assert products
    assert {node.input[0] for node in products} == unsigned
    products += [node for node in nodes if node.op_type == "DynamicQuantizeMatMul"]
    assert {types[node.input[1]] for node in products} == {onnx.TensorProto.INT8}


# Rule 6: a layer is cut only where the pool cuts it, and int8 quantises once for all segments


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rule_6_a_layer_has_a_segment_for_every_cut_of_the_pool(case: Case, precision: str) -> None:
    stored = {tensor.name for tensor in onnx.load(case.path(precision), load_external_data=False).graph.initializer}
    for layer in range(case.space.shape.layers):
        kept = [subnet.layers[layer] for subnet in case.subnets if subnet.layers[layer][0]]
        for part, weight, counts in (
            ("heads", "qkv", {heads for heads, _ in kept}),
            ("neurons", "in", {neurons for _, neurons in kept}),
        ):
            segments = {
                name for name in stored if name.startswith(f"layer{layer}.{part}") and name.endswith(f".{weight}")
            }
            assert len(segments) == len(counts)


def test_rule_6_int8_quantises_the_input_of_a_half_once(case: Case) -> None:
    model = onnx.load(case.path("int8"), load_external_data=False)
    for graph in (model.graph, *branches(model.graph)):
        inputs = [node.input[0] for node in graph.node if node.op_type == "DynamicQuantizeLinear"]
        assert len(set(inputs)) == len(inputs)
        norms = sum(node.op_type == "LayerNormalization" for node in graph.node)
        own = sum(node.output[0].startswith("Layer") and "embeddings.norm.scale" in node.input for node in graph.node)
        assert len(inputs) == norms - own  # a norm behind each half, and one behind the embeddings


# Rule 7: packed weights can be saved and mapped


@pytest.mark.parametrize("precision", CPU_PRECISIONS)
def test_rule_7_saved_packed_weights_answer_the_same_to_the_bit(case: Case, tmp_path: Path, precision: str) -> None:
    fresh = load(case.path(precision), save_as=tmp_path / "packed.onnx", packed=True)
    mapped = load(tmp_path / "packed.onnx")
    batch = random_batch([17, 1, 32, 2])
    for subnet in case.subnets:
        choice = case.space.choice(subnet)
        assert np.array_equal(run(fresh, batch, choice), run(mapped, batch, choice))


# Rule 8: what packing left on the heap is given back


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not the GNU C library")
def test_rule_8_memory_is_trimmed_after_the_session_is_built(
    exported: ExportReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    build = ort.InferenceSession
    library = ctypes.CDLL(None)

    class Library:
        def malloc_trim(self, pad: int) -> int:
            happened.append("trimmed")
            return int(library.malloc_trim(pad))

    def building(*given: object, **named: object) -> object:
        session = build(*given, **named)
        happened.append("built")
        return session

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr(ort, "InferenceSession", building)
    ElasticSession(exported.bundle, "fp32", threads=1).close()
    assert happened == ["built", "trimmed", "trimmed"]  # the last one when it is closed


# Rule 9: one kind of control flow, which CUDA's provider runs too


def test_rule_9_the_only_control_flow_is_if_with_tensors(model: onnx.ModelProto) -> None:
    holding = {
        node.op_type
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.GRAPH
    }
    assert holding == {"If"}


# Rule 10: the same graph on every CPU


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rule_10_the_files_are_the_same_whenever_they_are_written(case: Case, tmp_path: Path, precision: str) -> None:
    name = next(name for name, (space, _) in SPACES.items() if space is case.space)
    again = write_case(name, tmp_path, [precision])
    for suffix in (".onnx", ".weights"):
        first, second = (made.path(precision).with_suffix(suffix).read_bytes() for made in (case, again))
        assert first == second


def test_rule_10_int8_weights_leave_room_for_pairs_of_products_in_16_bits(case: Case) -> None:
    """Check it for x86 without VNNI, where they are added in 16 bits: 2 x 255 x 63 fits, 2 x 255 x 127 does not."""
    graph = onnx.load(case.path("int8")).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    products = {name: a for name, a in arrays.items() if a.dtype == np.int8 and f"{name}.scale" in arrays}
    assert products
    largest = max(int(np.abs(array.astype(int)).max()) for array in products.values())
    assert 2 * 255 * largest < 2**15
