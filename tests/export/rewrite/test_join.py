"""Joined segments: the graph of one subnet is the one that an export of that subnet alone would write."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from gearshift.errors import ExportError
from gearshift.export.checks.guard import check_packed
from gearshift.export.dedicated import dedicated_graphs
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.export.pipeline import export_bundle
from gearshift.export.rewrite.join import join_segments, segments_run
from gearshift.export.rewrite.options import branches, keep_options
from gearshift.export.trim import Trimming
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import SELF_TEST
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.rows import Row
from gearshift.trainer.model.run import Run
from tests.export.cases import inputs_of
from tests.trainer.tiny import random_batch

PRECISIONS = ("fp32", "int8")
NAMES = ("w100-d100", "w075-d075", "w050-d050", "w025-d100")


def written(bundle: Bundle, names: tuple[str, ...], folder: Path) -> Bundle:
    folder.mkdir()
    Trimming(bundle).of(names, joined=True).write(folder, bundle.path)
    return open_bundle(folder)


def weights_of(path: Path) -> dict[str, Array]:
    model = onnx.load(path)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("keep", [NAMES[:1], NAMES[1:2], NAMES[2:3], NAMES[3:], NAMES[:3:2], NAMES], ids="+".join)
def test_weights_are_those_of_an_export_of_the_kept_subnets(
    run: Run, bundle_path: Path, keep: tuple[str, ...], tmp_path: Path
) -> None:
    joined = written(open_bundle(bundle_path), keep, tmp_path / "joined")
    model = run.checkpoint.model
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    space = cut_space(model.shape, [run.subnets[name] for name in keep], 1)
    for precision in PRECISIONS:
        fresh = tmp_path / f"fresh.{precision}.onnx"
        write_elastic_graph(fresh, state, space, precision=precision, norm_eps=model.norm_eps)
        expected, found = weights_of(fresh), weights_of(joined.path / f"{precision}.onnx")
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
            if precision == "fp32":
                assert np.array_equal(found[name], array, equal_nan=True), name
            elif name.endswith((".output", ".out")):  # rounded twice: one step off, at most
                assert np.abs(found[name].astype(int) - array).max() <= 1, name
            elif not name.startswith("layer"):
                assert np.array_equal(found[name], array, equal_nan=True), name


@pytest.mark.parametrize("keep", [NAMES[:1], NAMES[1:2], NAMES[:3:2], NAMES], ids="+".join)
def test_fp32_answers_stay_as_they_were(bundle_path: Path, keep: tuple[str, ...], tmp_path: Path) -> None:
    bundle = open_bundle(bundle_path)
    joined = written(bundle, keep, tmp_path / "joined")
    assert check_packed(joined.path / "fp32.onnx") > 0
    inputs = random_inputs(bundle, 11)
    before, after = (ElasticSession(each, "fp32", threads=1) for each in (bundle, joined))
    for name in keep:
        old = before.run(inputs, bundle.entry(name, "fp32").choice)
        new = after.run(inputs, joined.entry(name, "fp32").choice)
        assert np.abs(new - old).max() < 2e-5, name
    before.close()
    after.close()


@pytest.mark.parametrize("keep", [NAMES[:1], NAMES[1:2], NAMES[:3:2], NAMES], ids="+".join)
def test_int8_answers_are_about_as_far_from_fp32_as_they_were(
    bundle_path: Path, keep: tuple[str, ...], tmp_path: Path
) -> None:
    bundle = open_bundle(bundle_path)
    joined = written(bundle, keep, tmp_path / "joined")
    assert check_packed(joined.path / "int8.onnx") > 0
    with np.load(bundle_path / SELF_TEST) as arrays:
        inputs = {name: arrays[name] for name in bundle.manifest.inputs}
        exact = {name: arrays[f"logits.fp32.{name}"] for name in keep}
    errors = []
    for each in (bundle, joined):
        session = ElasticSession(each, "int8", threads=1)
        answers = {name: session.run(inputs, each.entry(name, "int8").choice) for name in keep}
        errors.append({name: float(np.abs(answers[name] - exact[name]).mean()) for name in keep})
        session.close()
    for name in keep:
        assert 0 < errors[1][name] < 3 * errors[0][name], name


def test_a_cut_that_a_kept_subnet_makes_stays(bundle_path: Path, tmp_path: Path) -> None:
    joined = written(open_bundle(bundle_path), ("w100-d100", "w050-d100"), tmp_path / "joined")
    names = {name for name in weights_of(joined.path / "fp32.onnx") if name.startswith("layer0.")}
    assert {name for name in names if name.endswith(".qkv")} == {"layer0.heads0.qkv", "layer0.heads2.qkv"}


def test_heads_that_another_operator_tells_apart_are_refused(bundle_path: Path) -> None:
    model = onnx.load(bundle_path / "fp32.onnx", load_external_data=False)
    pruned = keep_options(model, [[0]] * 4)
    for node in pruned.graph.node:
        if "layer2.heads0.qkv" in node.input:
            del node.attribute[:]
    with pytest.raises(ExportError, match=r"layer2\.heads: expected heads of an attention operator to join"):
        join_segments(pruned, bundle_path)


@pytest.mark.parametrize("operators", ["fast", "standard"])
def test_neurons_that_are_added_in_turn_are_joined_as_those_that_are_added_at_once(
    run: Run, operators: str, tmp_path: Path
) -> None:
    model = run.checkpoint.model
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    subnets = [Subnet(((4, neurons),) * model.shape.layers) for neurons in (16, 40, 64)]
    space, path = cut_space(model.shape, subnets, 1), tmp_path / "cut.onnx"
    write_elastic_graph(path, state, space, precision="fp32", norm_eps=model.norm_eps, operators=operators)
    largest = space.choice(subnets[-1])
    cut = keep_options(onnx.load(path), [[option] for option in largest])
    joined = join_segments(cut, tmp_path)
    counts = [sum(node.op_type == "MatMul" for node in each.graph.node) for each in (cut, joined)]
    assert counts[0] - counts[1] == 4 * model.shape.layers  # two segments less, of two products each
    given = {**inputs_of(random_batch([9], model.shape)), "choice": np.zeros(len(largest), np.int64)}
    before, after = (
        ort.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, given)[0]
        for each in (cut, joined)
    )
    assert np.abs(before - after).max() < 2e-5


def test_segments_are_counted_in_what_a_subnet_keeps(bundle_path: Path, run: Run) -> None:
    model = onnx.load(bundle_path / "fp32.onnx", load_external_data=False)
    counts = {name: segments_run(model, subnet.layers) for name, subnet in run.subnets.items()}
    expected = {"w100": 4, "w075": 3, "w050": 2, "w025": 1}
    assert counts == {name: expected[name[:4]] for name in uniform_grid(run.checkpoint.model.shape)}


@pytest.mark.parametrize("layers", [1, 3, 4])
def test_a_dedicated_graph_has_the_operators_of_an_export_of_that_subnet_alone(
    run: Run, rows: tuple[Row, ...], layers: int, tmp_path: Path
) -> None:
    """Whatever was switched together in the bundle."""
    bundle = export_bundle(run, tmp_path / "all.gearshift", rows, layers_per_stage=layers).bundle
    model = run.checkpoint.model
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    rivals = dedicated_graphs(bundle)
    for precision, name in itertools.product(PRECISIONS, NAMES):
        fresh = tmp_path / f"{precision}.onnx"
        alone = cut_space(model.shape, [run.subnets[name]], model.shape.layers)
        write_elastic_graph(fresh, state, alone, precision=precision, norm_eps=model.norm_eps)
        with rivals(precision, name, 1) as rival:
            assert operators(rival.session.path) == operators(fresh), (precision, name)


def operators(path: Path) -> Counter[tuple[str, int, tuple[int, ...]]]:
    """Count how often each operator is there, with the sizes of the weights that it takes."""
    graph = onnx.load(path, load_external_data=False).graph
    sizes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return Counter(
        (node.op_type, len(node.input), tuple(n for name in node.input for n in sizes.get(name, ())))
        for node in graph.node
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_dedicated_graph_has_no_switches_and_one_segment_a_layer(bundle_path: Path, precision: str) -> None:
    bundle = open_bundle(bundle_path)
    rivals = dedicated_graphs(bundle)
    for name, entry in bundle.pool(precision).items():
        assert isinstance(entry.subnet, Subnet)
        with rivals(precision, name, 1) as rival:
            model = onnx.load(rival.session.path, load_external_data=False)
            assert not [node for node in model.graph.node if branches(node)]
            assert segments_run(model, entry.subnet.layers) == 1
            attentions = [node for node in model.graph.node if node.op_type in ("Attention", "QAttention")]
            heads = [onnx.helper.get_node_attr_value(node, "num_heads") for node in attentions]
            assert heads == [kept.heads for kept in entry.subnet.kept()]
            scratch = rival.session.path.parent
            assert rival.segments == int(4 * float(name[1:4]) / 100)
        assert not scratch.exists()
