"""The elastic graph on CUDA: it places nothing of a layer on the CPU, and answers as on the CPU. Never ran yet."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from benchmarks.graph.gpu import GRAPHS, Bench
from gearshift.runtime.space.shape import EncoderShape

SHAPE = EncoderShape(layers=4, hidden=64, heads=4, neurons=128, vocabulary=100, positions=128, types=2)
TOLERANCE = {"fp32": 1e-3, "fp16": 0.05}
"""Tolerance of a logit over the spread of the logits; fp32 products are in TF32 there."""

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(SHAPE, "cuda", 3, tmp_path_factory.mktemp("gpu"))


def test_cuda_started(bench: Bench) -> None:
    assert all(session.get_providers()[0] == "CUDAExecutionProvider" for session in bench.sessions.values())


def test_every_graph_answers_as_torch(bench: Bench) -> None:
    for graph, off in bench.answers().items():
        assert off < TOLERANCE[graph.split()[1].rstrip(",")], graph


def test_no_condition_is_copied_where_they_are_inputs(bench: Bench) -> None:
    copies = bench.copies()
    assert copies["conditions"] <= 1  # the answer
    assert copies["conditions"] < copies["gpu-fp16"]
    assert len(copies) == len(GRAPHS) + 1


def test_a_bound_call_gives_the_same_answer(bench: Bench) -> None:
    arrays = bench.arrays(4, 32)
    session: ort.InferenceSession = bench.sessions["gpu fp16"]
    (plain,) = session.run(None, bench.feeds("gpu fp16", "w050-d100", arrays))
    (bound,) = bench._bound("gpu fp16", "w050-d100", arrays)()
    assert np.array_equal(plain, bound)
    assert Path(bench.folder).is_dir()
