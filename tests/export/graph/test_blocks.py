"""Windows in blocks: at every length the graph answers as torch does, which masks."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from gearshift.export.graph.blocks import FEWEST, Cut
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import layer_space
from gearshift.runtime.space.subnet import Subnet
from tests.trainer.tiny import random_batch, random_model

SHAPE = EncoderShape(
    layers=3,
    hidden=32,
    heads=4,
    neurons=32,
    vocabulary=60,
    positions=50,
    types=0,
    gated=True,
    norm_first=True,
    biases=False,
    rotary=(160.0, 100.0, 100.0),
    windows=(0, 2, 3),
)
SUBNETS = [Subnet(((4, 32),) * 3), Subnet(((2, 16), (0, 0), (1, 32)))]
SPACE = layer_space(SHAPE, SUBNETS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    model = random_model(SHAPE)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    for operators in ("fast", "standard"):
        path = folder / f"{operators}.onnx"
        write_elastic_graph(path, weights, SPACE, precision="fp32", norm_eps=model.norm_eps, operators=operators)
    return folder


@pytest.mark.parametrize("operators", ["fast", "standard"])
def test_every_length_answers_as_torch_does(folder: Path, operators: str) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(folder / f"{operators}.onnx", options, providers=["CPUExecutionProvider"])
    model = random_model(SHAPE)
    for longest in range(1, SHAPE.positions + 1):
        batch = random_batch([longest, (longest + 1) // 2, 1], SHAPE, seed=longest)
        feeds = {name: getattr(batch, name).numpy() for name in ("input_ids", "attention_mask")}
        for subnet in SUBNETS:
            feeds["choice"] = np.array(SPACE.choice(subnet), np.int64)
            with torch.no_grad():
                wanted = model(batch, subnet).logits.numpy()
            assert np.abs(np.asarray(session.run(None, feeds)[0]) - wanted).max() < 1e-5, longest


def test_a_text_is_cut_from_three_blocks_on_and_no_key_of_a_window_is_missed() -> None:
    cut = Cut(window=3, longest=50)
    assert (cut.block, cut.from_tokens) == (6, FEWEST * 6)
    tables, queries, keys = cut.tables(), cut.queries(), cut.keys()
    for tokens in range(1, 51):
        row = {name: int(table[tokens]) for name, table in tables.items()}
        asked = queries[: row["last_query"]].reshape(-1, row["block"])
        seen = keys[row["first_key"] : row["last_key"]].reshape(-1, row["seen"])
        assert len(asked) == len(seen) == (1 if tokens < cut.from_tokens else -(-tokens // 6))
        assert set(range(tokens)) <= set(asked.ravel().tolist())
        for block, places in zip(asked, seen, strict=True):
            assert places[0] == block[0] - row["before"]
            for query in block[block < tokens]:
                assert set(range(max(0, query - 3), min(tokens, query + 4))) <= set(places.tolist())
