"""Graphs that the exporter writes pass the check of the runtime's reader: each encoder, head, space, precision and
flavour of operators. The bundles of other tests are read by the engine, which makes the same check.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from gearshift.errors import ExportError
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.operators import OPERATORS
from gearshift.export.graph.switched import token_inputs
from gearshift.export.prepare import MINIMUM_ONNXRUNTIME, SESSION_OPTIONS
from gearshift.runtime.bundle.manifest import FileEntry, Manifest, PoolEntry
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.graph.check import check_content
from gearshift.runtime.space.space import Space, layer_space
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.model.configs import read_config
from gearshift.trainer.model.elastic import Head, TaskModel
from gearshift.trainer.model.huggingface import load_model
from tests.export.cases import SPACES
from tests.trainer.encoders import ENCODERS, FORMS, HEADS, HeadCase, write_model
from tests.trainer.nasbert.tiny import lone_space, random_mixed, shared_space
from tests.trainer.tiny import random_model

FLAVOURS = [(operators, precision) for operators, recipes in OPERATORS.items() for precision in recipes]


def check(folder: Path, model: TaskModel, space: Space[Any, Any], outputs: int, wide: tuple[int, ...] = ()) -> None:
    """Write the graph in every flavour and check it against a manifest of its space."""
    weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    task = TASKS[model.head.task]
    for operators, precision in FLAVOURS:
        path = folder / f"{precision}.onnx"
        write = functools.partial(
            write_elastic_graph, path, weights, space, precision=precision, norm_eps=model.norm_eps, head=model.head,
            operators=operators, wide=wide,
        )  # fmt: skip
        if (operators, precision) == ("standard", "fp16") and getattr(space.shape, "position_terms", False):
            with pytest.raises(ExportError, match="fp16: disentangled attention has no standard operators"):
                write()
            continue
        write()
        files = {each.name: FileEntry(each.stat().st_size, "") for each in folder.glob(f"{precision}.*")}
        labels = tuple(f"label{n}" for n in range(outputs)) if task.labelled else ()
        choice = (0,) * len(space.stages)
        pool = (PoolEntry("all", space.subnet(choice), "elastic", path.name, choice, precision, 0.5, 1, 1),)
        manifest = Manifest(
            "made", task.name, "none", labels, space.shape.positions, 0, token_inputs(space.shape), space, pool, 128,
            SESSION_OPTIONS, MINIMUM_ONNXRUNTIME, 1, "none", "by hand", files,
        )  # fmt: skip
        check_content(path.read_bytes(), manifest, files)


PAIRS = [*((encoder, "classification") for encoder in (*ENCODERS, *FORMS)), *(("BERT", head) for head in HEADS)]
"""Each encoder, and each head: the two do not meet in the graph."""


@pytest.mark.parametrize(("encoder", "head"), PAIRS)
def test_every_encoder_and_every_head_is_read(tmp_path: Path, encoder: str, head: str) -> None:
    case: HeadCase = HEADS[head]
    write_model(tmp_path, encoder, case)
    model, _ = load_model(tmp_path, read_config(tmp_path), case.task, case.outputs)
    check(tmp_path, model, layer_space(model.shape, list(uniform_grid(model.shape).values())), case.outputs)


@pytest.mark.parametrize("name", SPACES)
def test_every_granularity_is_read(tmp_path: Path, name: str) -> None:
    space, _ = SPACES[name]
    model = random_model(space.shape)
    check(tmp_path, model, space, len(model.state_dict()["classifier.bias"]), wide=(1,))


MIXED = {"shared": shared_space(), "lone": lone_space(), "lone, as wide as its embeddings": lone_space(embedding=16)}


@pytest.mark.parametrize("task", ["classification", "token-classification"])
@pytest.mark.parametrize("name", MIXED)
def test_every_operation_is_read(tmp_path: Path, name: str, task: str) -> None:
    model = random_mixed(MIXED[name], head=Head(task))
    check(tmp_path, model, MIXED[name], len(model.state_dict()["classifier.bias"]), wide=(1,))
