"""Bundles of images: from a net of convolutions to an answer of the engine, and what cannot take them yet."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from gearshift.__main__ import main
from gearshift.errors import ExportError, InputError, ModelError
from gearshift.export.dedicated import dedicated_graphs
from gearshift.export.embed import embed_bundle
from gearshift.export.hub_folder import write_hub_folder
from gearshift.export.pipeline import ExportReport, export_bundle
from gearshift.export.trim import trim_bundle
from gearshift.runtime import Engine, Fleet, open_bundle
from gearshift.runtime.graph.check import check_content
from gearshift.runtime.graph.image_operators import NCHWC
from gearshift.runtime.images.preparation import Preparation
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.profiles.batches_timed import measure_batches
from gearshift.server.service import Service
from gearshift.trainer.data.images import ImageBatch, ImageRows
from gearshift.trainer.vision.elastic import ConvolutionalNet
from gearshift.trainer.vision.run import ImageCheckpoint, ImageRun, load_image_run, save_image_run
from gearshift.trainer.vision.statistics import calibrate
from tests.trainer.vision.nets import LABELS, SIZE, images, made

NAMES = tuple(f"label{number}" for number in range(LABELS))
PREPARATION = Preparation(SIZE, SIZE, shorter=SIZE + 4)


def rows(count: int = 24) -> ImageRows:
    """Make rows of random images."""
    source = np.random.default_rng(3)
    pixels = source.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    return ImageRows(pixels, source.integers(0, LABELS, count), NAMES, PREPARATION)


def run_of(path: Path, name: str = "inverted") -> ImageRun:
    """Write a run directory of a net that has learnt nothing, and read it."""
    net = ConvolutionalNet.convert(made(name), SIZE, SIZE).eval()
    grid = net.grid((1.0, 0.5), (1.0, 0.01), (7, 5, 3))
    batch = ImageBatch(images(16, 7), torch.zeros(16), torch.arange(16))
    calibrate(net, grid.values(), [batch])
    shares = dict.fromkeys(grid, 0.5)
    checkpoint = ImageCheckpoint(net, NAMES, PREPARATION)
    save_image_run(
        path, checkpoint, subnets=grid, accuracies=shares, dev_accuracies=shares, facts={"data": None}, files={}
    )
    return load_image_run(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ImageRun:
    return run_of(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module", params=["fast", "standard"])
def report(request: pytest.FixtureRequest, run: ImageRun, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    out = tmp_path_factory.mktemp("bundles") / f"{request.param}.gearshift"
    return export_bundle(run, out, rows(), dev=rows(12), operators=request.param)


@pytest.fixture(scope="module")
def engine(report: ExportReport) -> Any:
    with Engine.load(report.bundle.path, threads=1, sensors=False, cache=False) as engine:
        yield engine


def test_a_run_directory_keeps_weights_and_statistics(run: ImageRun, tmp_path: Path) -> None:
    net = ConvolutionalNet.convert(made("inverted"), SIZE, SIZE).eval()
    calibrate(net, run.subnets.values(), [ImageBatch(images(16, 7), torch.zeros(16), torch.arange(16))])
    for subnet in run.subnets.values():
        assert torch.equal(run.checkpoint.model(images(), subnet).logits, net(images(), subnet).logits)
    copied = tmp_path / "run"
    shutil.copytree(run.path, copied)
    (copied / "model.safetensors").write_bytes(b"none")
    with pytest.raises(ModelError, match=r"not the weights of its convolutional\.json"):
        load_image_run(copied)


def test_parity_is_measured_and_every_subnet_ships(report: ExportReport, run: ImageRun) -> None:
    assert report.parity is not None and report.parity < 1e-5
    manifest = open_bundle(report.bundle.path).manifest
    assert [entry.name for entry in manifest.pool] == [*run.subnets]
    assert (manifest.task, manifest.inputs, manifest.labels) == ("image-classification", ("pixels",), NAMES)
    assert manifest.images == PREPARATION
    assert {entry.macs for entry in manifest.pool} == {
        subnet.macs(run.checkpoint.model.shape, SIZE * SIZE) for subnet in run.subnets.values()
    }


def test_the_engine_answers_as_torch_does_whatever_subnet_runs(engine: Engine, run: ImageRun) -> None:
    image = np.random.default_rng(5).integers(0, 256, (40, 25, 3), np.uint8)
    pixels = torch.from_numpy(PREPARATION.normalised(PREPARATION.resized(image)[None]))
    for name, subnet in run.subnets.items():
        engine.pin(name)
        answer = engine.run(image)
        scores = torch.softmax(run.checkpoint.model(pixels, subnet).logits[0], 0).tolist()
        assert answer.subnet == name
        assert list(answer.scores.values()) == pytest.approx(scores, abs=1e-5)
        assert answer.label == NAMES[int(np.argmax(scores))]
    engine.pin(None)


@pytest.mark.parametrize("operators", ["fast", "standard"])
def test_every_kernel_size_ships_and_answers_as_torch_does(operators: str, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "squeezed")
    made = export_bundle(run, tmp_path / "kernels.gearshift", rows(), operators=operators)
    assert made.parity is not None and made.parity < 1e-5
    sizes = {name: {kernel for _, kernel in subnet.layers} - {0} for name, subnet in run.subnets.items()}
    assert (sizes["w100-d100"], sizes["w100-d100-k5"], sizes["w100-d100-k3"]) == ({5, 7}, {5}, {3})
    manifest = open_bundle(made.bundle.path).manifest
    assert {entry.name: entry.subnet for entry in manifest.pool} == run.subnets
    image = np.random.default_rng(5).integers(0, 256, (40, 25, 3), np.uint8)
    pixels = torch.from_numpy(PREPARATION.normalised(PREPARATION.resized(image)[None]))
    with Engine.load(made.bundle.path, threads=1, sensors=False, cache=False) as engine:
        for name, subnet in run.subnets.items():
            engine.pin(name)
            scores = torch.softmax(run.checkpoint.model(pixels, subnet).logits[0], 0).tolist()
            assert list(engine.run(image).scores.values()) == pytest.approx(scores, abs=1e-5)


def test_images_are_arrays_paths_and_lists_of_these_with_a_deadline(engine: Engine, tmp_path: Path) -> None:
    image = np.random.default_rng(5).integers(0, 256, (40, 25, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "one.png")
    engine.pin("w100-d100")
    alone = engine.run(image, deadline_ms=1000)
    assert alone.deadline_met and alone.tokens == 1 and not alone.truncated
    several: list[Any] = [image, str(tmp_path / "one.png"), tmp_path / "one.png"]
    listed = engine.run(several, deadline_ms=1000)
    assert [answer.scores for answer in listed] == [alone.scores] * 3
    assert engine.submit(image, deadline_ms=1000).result().scores == alone.scores
    engine.pin(None)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda engine: engine.run("some text"), "some text: not readable as an image"),
        (lambda engine: engine.run(3), "expected an image, an array .* got int"),
        (lambda engine: engine.run(("a", "b")), "expected an image, an array .* got tuple"),
        (lambda engine: engine.run([np.zeros((2, 2, 3), np.uint8), 1.5]), "image 1: expected an image"),
        (lambda engine: engine.run(np.zeros((2, 2, 3), np.uint8), overlap=3), "overlap: expected a bundle for"),
        (lambda engine: engine.run(np.zeros((2, 2, 3), np.uint8), prompt="p"), "prompt"),
        (lambda engine: engine.run(np.zeros((2, 2, 3), np.uint8), dimensions=2), "dimensions"),
        (lambda engine: engine.rank("a", ["b"]), "rank: expected a bundle for"),
        (lambda engine: engine.classify("a", ["b"]), "classify: expected a classifier of pairs"),
        (lambda engine: engine.encode("a"), "encode: expected a bundle for embedding"),
        (lambda engine: engine.warm_up([2]), "lengths: expected numbers of tokens from 1 to 1"),
        (Service, "serve: expected a bundle of texts, got "),
    ],
)
def test_what_is_for_texts_is_refused_in_one_line(engine: Engine, ask: Callable[[Any], Any], told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        ask(engine)
    assert "\n" not in str(caught.value)


def test_images_of_a_fleet_run_one_by_one_beside_texts(report: ExportReport, engine: Engine, tiny_bundle: Path) -> None:
    given = [np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8) for seed in range(6)]
    with Fleet(threads=1) as fleet:
        texts = fleet.load(tiny_bundle, cache=False)
        of_images = fleet.load(report.bundle.path, cache=False)
        for each in (engine, of_images):
            each.pin("w100-d100")
        futures = [of_images.submit(image, deadline_ms=10_000) for image in given]
        assert texts.run("some text", deadline_ms=10_000).subnet
        assert [future.result().scores for future in futures] == [engine.run(image).scores for image in given]
    engine.pin(None)


def test_a_bundle_of_images_has_one_head_without_a_name(report: ExportReport) -> None:
    manifest = report.bundle.manifest
    (head,) = manifest.every_head
    assert (head.name, head.output, head.labels) == ("", "logits", NAMES)
    assert not manifest.tags and not manifest.per_token and manifest.words is None
    manifest.require_one_head("it")


def test_calls_of_several_images_are_not_timed(report: ExportReport) -> None:
    session = ElasticSession(report.bundle, "fp32", threads=1)
    assert measure_batches(report.bundle, session, [1]) is None
    session.close()


def test_vectors_for_clients_are_of_texts(
    report: ExportReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vectors", str(report.bundle.path), "-o", str(tmp_path / "out")]) == 1
    assert "vectors: expected a bundle of texts" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_of_images_has_one_head_and_no_class_of_transformers(run: ImageRun) -> None:
    run.require_one_head("--portable")
    with pytest.raises(InputError, match="transformers has no class for a net of convolutions"):
        run.require_transformers()


def test_bundles_of_images_are_not_trimmed_embedded_or_compared_yet(
    report: ExportReport, run: Any, tmp_path: Path
) -> None:
    nothing: Any = None
    for attempt in (
        lambda: write_hub_folder(run, report.bundle, tmp_path / "a", nothing, nothing),
        lambda: trim_bundle(report.bundle, tmp_path / "a", keep=["w100-d100"]),
        lambda: embed_bundle(report.bundle, tmp_path / "a"),
        lambda: dedicated_graphs(report.bundle),
    ):
        with pytest.raises(InputError, match=r"expected a bundle of texts, got .* which it cannot take yet"):
            attempt()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"precisions": ("fp32", "int8")}, "precisions of images: expected fp32, got int8; others are to come"),
        ({"wider": True}, "for texts; leave them out"),
        ({"vocabulary": ["a"]}, "for texts; leave them out"),
        ({"layers_per_stage": 1}, "for texts; leave them out"),
    ],
)
def test_what_an_export_of_images_does_not_have_is_refused(
    run: ImageRun, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        export_bundle(run, tmp_path / "a.gearshift", rows(), **changes)
    assert not (tmp_path / "a.gearshift").exists()


def test_two_subnets_that_answer_alike_are_refused(run: ImageRun, tmp_path: Path) -> None:
    full = run.checkpoint.model.full
    one = dataclasses.replace(run, subnets={"one": full})
    assert export_bundle(one, tmp_path / "one.gearshift", rows()).parity is not None
    model = run.checkpoint.model
    weight: Any = model.layers[model.net.steps[-1].name]
    before = weight.weight.data.clone()
    weight.weight.data.zero_()
    try:
        with pytest.raises(ExportError, match="give the same logits; nothing was compared"):
            export_bundle(run, tmp_path / "same.gearshift", rows())
    finally:
        weight.weight.data.copy_(before)


def nodes_of(model: Any, operator: str) -> list[Any]:
    """Return the nodes of an operator, in the root graph and in branches."""
    found = list(model.graph.node)
    found += [node for each in model.graph.node for part in each.attribute for node in part.g.node]
    return [node for node in found if node.op_type == operator]


def changed(node: Any, name: str, value: Any) -> None:
    """Replace an attribute of a node."""
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


ALTERED: dict[str, Callable[[Any], None]] = {
    "windows of another size": lambda model: changed(nodes_of(model, "Conv")[0], "kernel_shape", [5, 5]),
    "pads beyond the window": lambda model: changed(nodes_of(model, "Conv")[0], "pads", [9, 9, 9, 9]),
    "more groups than channels": lambda model: changed(nodes_of(model, "Conv")[0], "group", 64),
    "no strides": lambda model: changed(nodes_of(model, "Conv")[0], "strides", [0, 0]),
    "an operator of texts": lambda model: setattr(nodes_of(model, "Gemm")[0], "op_type", "CumSum"),
    "a sum of other shapes": lambda model: nodes_of(model, "Gemm")[0].input.__setitem__(2, "no_option"),
    "another input": lambda model: setattr(model.graph.input[0], "name", "input_ids"),
    "a larger image": lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 512),
}
"""Case -> change of a graph that would reach a kernel with what it was not made for."""


@pytest.mark.parametrize("case", ALTERED)
def test_a_graph_that_is_none_of_ours_is_refused(report: ExportReport, case: str) -> None:
    bundle = report.bundle
    path = bundle.path / "fp32.onnx"
    files = bundle.graph_files("fp32")
    check_content(path.read_bytes(), bundle.manifest, files)
    model = onnx.load(path, load_external_data=False)
    ALTERED[case](model)
    with pytest.raises(ValueError, match=r"."):
        check_content(model.SerializeToString(), bundle.manifest, files)


def test_blocked_operators_take_whole_blocks_alone(report: ExportReport) -> None:
    model = onnx.load(report.bundle.path / "fp32.onnx", load_external_data=False)
    of_blocks = [node for node in nodes_of(model, "Conv") if node.domain == NCHWC]
    assert bool(of_blocks) == report.bundle.manifest.blocked
    if not of_blocks:
        return
    convolution = of_blocks[0]
    changed(convolution, "activation", "Softmax")
    with pytest.raises(ValueError, match="activation 'Softmax'"):
        check_content(model.SerializeToString(), report.bundle.manifest, report.bundle.graph_files("fp32"))


def branch_of(model: Any) -> Any:
    """Return the graph of the first branch."""
    nodes = (node for node in model.graph.node if node.op_type == "If")
    return next(part.g for node in nodes for part in node.attribute if part.name == "then_branch")


def test_tensors_of_a_branch_lie_in_the_graph_and_are_those_of_images(report: ExportReport, tiny_bundle: Path) -> None:
    bundle = report.bundle
    model = onnx.load(bundle.path / "fp32.onnx", load_external_data=False)
    own = next(tensor for tensor in branch_of(model).initializer)
    for key, value in (("location", "fp32.weights"), ("offset", "0"), ("length", str(len(own.raw_data)))):
        own.external_data.add(key=key, value=value)
    own.data_location = onnx.TensorProto.EXTERNAL
    own.ClearField("raw_data")
    with pytest.raises(ValueError, match="in a branch"):
        check_content(model.SerializeToString(), bundle.manifest, bundle.graph_files("fp32"))
    texts = open_bundle(tiny_bundle)
    model = onnx.load(texts.path / "fp32.onnx", load_external_data=False)
    branch_of(model).initializer.append(onnx.numpy_helper.from_array(np.zeros(4, np.float32), "own"))
    with pytest.raises(ValueError, match="weights in a branch"):
        check_content(model.SerializeToString(), texts.manifest, texts.graph_files("fp32"))
