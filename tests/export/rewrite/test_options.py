"""Options can be taken out of the graph of every encoder's head, and what is left gives the same numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.export.graph.switched import token_inputs
from gearshift.export.rewrite.first_token import pick_first_early
from gearshift.export.rewrite.join import join_segments
from gearshift.export.rewrite.options import branches, keep_options, live, values_read
from gearshift.export.rewrite.weights_file import lay_out
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.model.configs import read_config
from gearshift.trainer.model.huggingface import load_model
from tests.trainer.encoders import HEADS, batch_for, write_model

PRECISIONS = ("fp32", "int8")


def run(path: Path, batch: Batch, names: Sequence[str], choice: Sequence[int]) -> Array:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {name: getattr(batch, name).numpy() for name in names}
    return np.asarray(session.run(None, {**feeds, "choice": np.array(choice, np.int64)})[0])


@pytest.mark.parametrize("encoder", ["BERT", "DistilBERT", "ELECTRA"])
@pytest.mark.parametrize("head_name", HEADS)
@pytest.mark.parametrize("layers", [1, 3])
def test_every_head_answers_bit_for_bit_as_before(head_name: str, encoder: str, layers: int, tmp_path: Path) -> None:
    head = HEADS[head_name]
    source = write_model(tmp_path / "model", encoder, head)
    model = load_model(tmp_path / "model", read_config(tmp_path / "model"), head.task, head.outputs)[0].eval()
    subnets = list(uniform_grid(model.shape, (1.0, 0.5), (1.0, 0.5)).values())
    space, kept = cut_space(model.shape, subnets, layers), [subnets[1], subnets[3]]
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    batch, names = batch_for(source, model.shape, [9, 1, 17]), token_inputs(model.shape)
    for precision in PRECISIONS:
        path = tmp_path / f"{precision}.onnx"
        write_elastic_graph(path, weights, space, precision=precision, norm_eps=model.norm_eps, head=model.head)
        whole = onnx.load(path, load_external_data=False)
        for subset in (kept, kept[:1], kept[1:]):
            options = [sorted(set(places)) for places in zip(*map(space.choice, subset), strict=True)]
            smaller = tmp_path / "smaller"
            smaller.mkdir(exist_ok=True)
            lay_out(keep_options(whole, options)).write(smaller / path.name, tmp_path)
            for subnet in subset:
                choice = [places.index(old) for places, old in zip(options, space.choice(subnet), strict=True)]
                found = run(smaller / path.name, batch, names, choice)
                assert np.array_equal(found, run(path, batch, names, space.choice(subnet)))
        if precision == "fp32":  # the last subset alone, as a dedicated graph
            dedicated = pick_first_early(join_segments(keep_options(whole, options), tmp_path))
            lay_out(dedicated).write(smaller / path.name, tmp_path)
            near = run(smaller / path.name, batch, names, choice)
            assert near.shape == found.shape
            assert np.abs(near - found).max() < 2e-5


def test_the_given_graph_stays_as_it_was(bundle_path: Path) -> None:
    model = onnx.load(bundle_path / "fp32.onnx", load_external_data=False)
    before = model.SerializeToString(deterministic=True)
    pick_first_early(join_segments(lay_out(keep_options(model, [[0]] * 4)).model, bundle_path))
    assert model.SerializeToString(deterministic=True) == before


def test_nodes_that_nothing_needs_are_no_longer_live() -> None:
    node = onnx.helper.make_node
    branch = onnx.helper.make_graph([node("Neg", ["inner"], ["b"])], "then", [], [])
    nodes = [
        node("Neg", ["x"], ["inner"]),
        node("Neg", ["x"], ["unused"]),
        node("If", ["yes"], ["y"], then_branch=branch),
        node("Neg", ["unused"], ["unused too"]),
    ]
    alive, needed = live(nodes, {"y"})
    assert [list(each.output) for each in alive] == [["inner"], ["y"]]
    assert needed == {"y", "yes", "inner", "x"}
    assert set(values_read(nodes[2])) == {"yes", "inner"}
    assert branches(nodes[2])[0].name == "then"
