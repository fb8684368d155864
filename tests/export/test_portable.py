"""Static models of single subnets: they answer as the supernet does, hold no switch, and optimum loads them."""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers

from gearshift.errors import ExportError, StorageError, UnknownSubnetError
from gearshift.export import portable
from gearshift.export.cut import cut_encoder
from gearshift.export.graph.segments import Array
from gearshift.export.portable import PORTABLE, checked_names, export_portable, write_static_graph
from gearshift.export.rewrite.options import branches
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.rows import Row
from gearshift.trainer.model.configs import read_config
from gearshift.trainer.model.huggingface import load_model
from gearshift.trainer.model.names import ARCHITECTURES
from gearshift.trainer.model.run import Run
from tests.trainer.encoders import ENCODERS, HEADS, HeadCase, batch_for, write_model
from tests.trainer.full_disk import fill_disk, needs_full_device

UNEVEN = {"mixed": Subnet(((4, 64), (2, 16), (0, 0), (1, 33))), "early": Subnet(((3, 64), (0, 0), (0, 0), (0, 0)))}
NAMES = ("w050-d050", "mixed", "early")


@pytest.fixture(scope="module")
def uneven(run: Run) -> Run:
    """The run with subnets that keep something else of each layer."""
    return dataclasses.replace(run, subnets={**run.subnets, **UNEVEN})


@pytest.fixture(scope="module")
def out(uneven: Run, rows: tuple[Row, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three static models. Not to be written to."""
    target = tmp_path_factory.mktemp("portable") / "small.gearshift.portable"
    export_portable(uneven, target, rows, NAMES)
    return target


def nodes(path: Path) -> Iterator[onnx.NodeProto]:
    return iter(onnx.load(path, load_external_data=False).graph.node)


def answers(model: Any, tokenizer: Any, texts: list[str]) -> Array:
    encoded = tokenizer(texts, padding=True, truncation=True, max_length=24, return_tensors="pt")
    with torch.no_grad():
        return np.asarray(model(**encoded).logits)


@pytest.mark.parametrize("name", NAMES)
def test_optimum_loads_a_model_that_answers_as_the_supernet_does(
    out: Path, uneven: Run, rows: tuple[Row, ...], name: str
) -> None:
    from optimum.onnxruntime import ORTModelForSequenceClassification

    model = ORTModelForSequenceClassification.from_pretrained(out / name, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out / name, local_files_only=True)
    batch = portable._compared(uneven, rows)
    texts = [row.text for row in rows[: len(batch.input_ids)]]
    with torch.no_grad():
        elastic = uneven.checkpoint.model.eval()
        expected = elastic(batch, uneven.subnets[name]).logits.numpy()
        full = elastic(batch, elastic.full).logits.numpy()
    found = answers(model, tokenizer, texts)
    assert np.abs(found - expected).max() < 1e-4
    assert np.abs(full - expected).max() > 1e-2  # texts on which the sizes differ
    assert tuple(model.config.id2label.values()) == uneven.checkpoint.labels


@pytest.mark.parametrize("name", NAMES)
def test_there_is_no_control_flow_and_no_operator_of_one_engine(out: Path, name: str) -> None:
    found = list(nodes(out / name / "model.onnx"))
    assert {node.domain for node in found} <= {"", "ai.onnx"}
    assert not [node for node in found if branches(node) or node.op_type in ("If", "Loop", "Scan")]


def test_a_cut_model_holds_no_more_than_its_subnet(out: Path, uneven: Run) -> None:
    for name in NAMES:
        model = onnx.load(out / name / "model.onnx")
        words = sum(np.prod(tensor.dims) for tensor in model.graph.initializer if len(tensor.dims) == 2)
        shape = uneven.checkpoint.model.shape
        matrices = uneven.subnets[name].macs(shape, 1) - 2 * sum(
            kept.heads * shape.head_size for kept in uneven.subnets[name].kept()
        )
        tables = shape.hidden * (shape.vocabulary + shape.positions + shape.types)
        head = shape.hidden * (shape.hidden + len(uneven.checkpoint.labels))
        assert 0 <= words - matrices - tables - head < 0.02 * words, name


def test_the_directory_says_what_it_holds(out: Path, uneven: Run) -> None:
    said = json.loads((out / PORTABLE).read_text())
    assert list(said["subnets"]) == list(NAMES)
    assert {path.name for path in out.iterdir()} == {PORTABLE, *NAMES}
    for name, facts in said["subnets"].items():
        assert facts["layers"] == [list(layer) for layer in uneven.subnets[name].layers]
        assert 0 < facts["parity"] < 1e-4
        config = json.loads((out / name / "config.json").read_text())
        assert config["num_hidden_layers"] == len(uneven.subnets[name].kept())
        assert config["gearshift_subnet"] == [layer for layer in facts["layers"] if layer != [0, 0]]
        assert {"model.onnx", "tokenizer.json"} <= {path.name for path in (out / name).iterdir()}


TYPED = "RoBERTa with token types"
"""optimum's RoBERTa takes no token types; real ones have one type."""

CASES = [(encoder, "classification") for encoder in ENCODERS if encoder != TYPED] + [("BERT", head) for head in HEADS][
    1:
]


@pytest.mark.parametrize(("encoder", "head_name"), CASES, ids=map(", ".join, CASES))
def test_every_encoder_and_every_head_can_be_cut(encoder: str, head_name: str, tmp_path: Path) -> None:
    head: HeadCase = HEADS[head_name]
    source = write_model(tmp_path / "model", encoder, head)
    config = read_config(tmp_path / "model")
    elastic = load_model(tmp_path / "model", config, head.task, head.outputs)[0].eval()
    heads = elastic.shape.heads
    others = ((0, 0),) * (elastic.shape.layers - 3)
    first, last = ((1, 17), (1, 17)) if elastic.shape.shared else ((heads, 17), (1, 48))
    subnet = Subnet((first, (0, 0), last, *others))
    loader = getattr(transformers, ARCHITECTURES[config.model_type].class_name(head.task))
    model = loader.from_pretrained(tmp_path / "model", attn_implementation="eager").eval()
    cut_encoder(model, subnet)
    write_static_graph(model, tmp_path / "static", head.task)
    batch = batch_for(source, elastic.shape, [9, 1, 17, 4])
    with torch.no_grad():
        expected = elastic(batch, subnet).logits.numpy()
    assert portable._check(tmp_path / "static" / "model.onnx", elastic, batch, expected) < 1e-4
    with torch.no_grad():
        other = elastic(batch, Subnet((first, (0, 0), (2, 48), *others))).logits.numpy()
    with pytest.raises(ExportError, match=r"static: expected a static model within 0\.0001 of torch, off by"):
        portable._check(tmp_path / "static" / "model.onnx", elastic, batch, other)


def test_token_types_that_optimum_leaves_out_are_found_out(tmp_path: Path) -> None:
    source = write_model(tmp_path / "model", TYPED, HEADS["classification"])
    elastic = load_model(tmp_path / "model", read_config(tmp_path / "model"), "classification", 3)[0].eval()
    write_static_graph(source, tmp_path / "static", "classification")
    batch = batch_for(source, elastic.shape, [9, 4])
    with torch.no_grad():
        expected = elastic(batch, elastic.full).logits.numpy()
    with pytest.raises(ExportError, match="off by"):
        portable._check(tmp_path / "static" / "model.onnx", elastic, batch, expected)


def test_names_come_in_the_order_of_the_run(run: Run) -> None:
    assert checked_names(run, None) == tuple(run.subnets)
    assert checked_names(run, ("w025-d050", "w100-d100")) == ("w100-d100", "w025-d050")


@pytest.mark.parametrize(("names", "found"), [(("w050-d050", "big"), "unknown subnet 'big'"), ((), "no subnet named")])
def test_a_name_that_is_none_lists_those_there_are(
    run: Run, rows: tuple[Row, ...], tmp_path: Path, names: tuple[str, ...], found: str
) -> None:
    with pytest.raises(UnknownSubnetError, match=f"portable: {found}; expected all, or some of w100-d100, w075"):
        export_portable(run, tmp_path / "out", rows, names)
    assert not list(tmp_path.iterdir())


def test_how_far_it_is_gets_told(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    export_portable(run, tmp_path / "out", rows, ("w025-d050",), progress=lambda *part: seen.append(part))
    assert seen == [("portable", 0, 1), ("portable", 1, 1)]


def test_a_directory_of_other_things_is_not_replaced(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for refuse in (portable.require_free, lambda out: export_portable(run, out, rows, ("w025-d050",))):
        with pytest.raises(StorageError, match=r"not empty and has no portable\.json"):
            refuse(tmp_path)


@needs_full_device
@pytest.mark.parametrize("name", ["tokenizer.json", PORTABLE])
def test_a_full_disk_leaves_nothing(
    run: Run, rows: tuple[Row, ...], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch, name)
    with pytest.raises(StorageError, match="No space left on device"):
        export_portable(run, tmp_path / "out", rows, ("w025-d050",))
    assert not list(tmp_path.iterdir())


def test_every_pair_of_a_run_and_its_static_models_is_checked(
    run: Run, rows: tuple[Row, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that was cut to another subnet is found out, and nothing is left."""
    wrong = iter(itertools.repeat(run.subnets["w100-d050"]))
    really_cut = cut_encoder
    monkeypatch.setattr(portable, "cut_encoder", lambda model, subnet: really_cut(model, next(wrong)))
    with pytest.raises(ExportError, match="w025-d050: expected a static model within"):
        export_portable(run, tmp_path / "out", rows, ("w025-d050",))
    assert not list(tmp_path.iterdir())
