"""Every subnet of an exported net of convolutions answers as the trained net does, in both kinds of operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from gearshift.errors import ExportError
from gearshift.export.graph.convolutional import write_convolutional_graph
from gearshift.export.graph.layouts import LAYOUTS
from gearshift.runtime.graph.image_operators import BLOCK, NCHWC, WIDEST_BLOCK
from gearshift.runtime.inference import blocked
from gearshift.runtime.inference.blocked import block_channels
from gearshift.trainer.data.images import ImageBatch
from gearshift.trainer.vision.elastic import ConvolutionalNet
from gearshift.trainer.vision.statistics import calibrate
from tests.trainer.vision.nets import NETS, SIZE, images, made

TOLERANCE = 1e-5


def elastic(name: str) -> ConvolutionalNet:
    """Make an elastic net whose subnets have statistics of their own."""
    net = ConvolutionalNet.convert(made(name), SIZE, SIZE).eval()
    batch = ImageBatch(images(16, 7), torch.zeros(16, dtype=torch.long), torch.arange(16))
    calibrate(net, [subnet for subnet in net.grid().values() if subnet != net.full], [batch])
    return net


def session(path: Path, block: int | None = None) -> ort.InferenceSession:
    """Open a graph; `block` replaces the channels of a block that it has stored."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    if block is not None:
        value = ort.OrtValue.ortvalue_from_numpy(np.array([block], np.int64))
        options.add_external_initializers([BLOCK], [value])
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("operators", LAYOUTS)
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("depths", [(1.0,), (1.0, 0.5, 0.0)], ids=["widths", "widths and depths"])
def test_every_subnet_answers_as_torch_does(
    name: str, operators: str, depths: tuple[float, ...], tmp_path: Path
) -> None:
    net = elastic(name)
    for matrix in net.transforms.values():
        matrix.data += 0.2 * torch.randn(matrix.shape, generator=torch.Generator().manual_seed(2))
    subnets = list(net.grid((1.0, 0.5), depths, (7, 5, 3)).values())
    missing = [subnet for subnet in subnets if subnet not in net.statistics and subnet != net.full]
    if missing:
        calibrate(net, missing, [ImageBatch(images(16, 7), torch.zeros(16), torch.arange(16))])
    write_convolutional_graph(tmp_path / "fp32.onnx", net, subnets, operators)
    run = session(tmp_path / "fp32.onnx")
    answers = []
    for option, subnet in enumerate(subnets):
        feeds = {"pixels": images(3).numpy(), "choice": np.array([option])}
        (found,) = run.run(None, feeds)
        with torch.no_grad():
            wanted = net(images(3), subnet).logits.numpy()
        assert np.abs(found - wanted).max() <= TOLERANCE
        answers.append(found)
    assert len({answer.tobytes() for answer in answers}) == len(subnets)


def test_weights_are_brought_into_blocks_of_the_size_that_the_session_states(tmp_path: Path) -> None:
    """Blocks of another size than this CPU's give other answers, so that a self-test tells them apart."""
    own = block_channels()
    if own is None:
        pytest.skip("this CPU computes in no blocks")
    net = elastic("inverted")
    write_convolutional_graph(tmp_path / "fp32.onnx", net, [net.full])
    with torch.no_grad():
        wanted = net(images(3)).logits.numpy()
    feeds = {"pixels": images(3).numpy(), "choice": np.array([0])}
    off = {
        block: float(np.abs(session(tmp_path / "fp32.onnx", block).run(None, feeds)[0] - wanted).max())
        for block in (8, WIDEST_BLOCK)
    }
    assert off.pop(own) <= TOLERANCE
    assert min(off.values()) > 100 * TOLERANCE


def test_fast_operators_refuse_what_they_do_not_have(tmp_path: Path) -> None:
    first = nn.Sequential(nn.MaxPool2d(2), *made("chain").children())
    grouped = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=2),
        nn.ReLU(),
        nn.Conv2d(16, 8, 1),
        nn.Conv2d(8, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    for module, told in ((first, "begin with a convolution"), (grouped, "convolutions in groups have no fast")):
        net = ConvolutionalNet.convert(module.eval(), SIZE, SIZE).eval()
        with pytest.raises(ExportError, match=told):
            write_convolutional_graph(tmp_path / "fp32.onnx", net, [net.full])
        write_convolutional_graph(tmp_path / "fp32.onnx", net, [net.full], "standard")
        feeds = {"pixels": images(3).numpy(), "choice": np.array([0])}
        (found,) = session(tmp_path / "fp32.onnx").run(None, feeds)
        assert np.abs(found - net(images(3)).logits.detach().numpy()).max() <= TOLERANCE


def test_the_size_of_a_block_is_asked_by_a_graph_of_one_conversion() -> None:
    model = onnx.load_model_from_string(blocked._CONVERSION)
    assert [(node.domain, node.op_type) for node in model.graph.node] == [(NCHWC, "ReorderInput")]
    (shape,) = [[each.dim_value for each in value.type.tensor_type.shape.dim] for value in model.graph.input]
    assert shape == [1, WIDEST_BLOCK, 1, 2]
