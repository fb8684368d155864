"""The measurement on a GPU, all of it on a CPU: it works, and conditions as inputs change no number."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.graph import gpu
from gearshift.runtime.space.shape import EncoderShape

SHAPE = EncoderShape(layers=4, hidden=64, heads=4, neurons=128, vocabulary=100, positions=128, types=2)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> gpu.Bench:
    return gpu.Bench(SHAPE, "cpu", 1, tmp_path_factory.mktemp("gpu"))


def test_conditions_as_inputs_change_no_number_of_any_subnet(bench: gpu.Bench) -> None:
    arrays = bench.arrays(4, 32)
    answers = []
    for name in bench.grid:
        both = [
            bench.sessions[graph].run(None, bench.feeds(graph, name, arrays))[0]
            for graph in ("gpu fp16", "gpu fp16, conditions")
        ]
        assert np.array_equal(*both), name
        answers.append(both[0])
    assert len({each.tobytes() for each in answers}) == len(bench.grid)


def test_every_graph_answers_as_torch(bench: gpu.Bench) -> None:
    off = bench.answers()
    assert max(each for graph, each in off.items() if "fp32" in graph) < 1e-4
    assert 0 < max(off.values()) < 0.05


def test_the_tables_have_every_candidate(bench: gpu.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "BATCHES", ((1, 16), (2, 16)))
    facts: dict[str, Any] = {"answers": bench.answers(), "copies": bench.copies(), "switching": bench.switching()}
    lines = gpu.tables("tiny", {**facts, "times": bench.times()})
    assert sum(line.startswith("| w100-d100") for line in lines) == 2
    assert set(facts["copies"].values()) == {0}  # on a CPU
    assert Path(bench.folder, "conditions.onnx").is_file()
