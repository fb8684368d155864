"""A layer that int8 ruins is found and kept in fp32; without the defect nothing changes."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from gearshift.errors import InputError
from gearshift.export.checks.widen import MAX_WIDE
from gearshift.export.pipeline import export_bundle
from gearshift.export.trim import trim_bundle
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession
from gearshift.trainer.data.batches import encode
from gearshift.trainer.data.rows import Row
from gearshift.trainer.model.run import Run
from tests.export.cases import branches

POOL = ("w100-d100", "w050-d050")


def planted(run: Run, layers: tuple[int, ...]) -> Run:
    """The run with an outlier in every column of the FFN of some layers: the same function as far as fp32 can see.

    One input is made a millionth of what it was and its weights 20, a hundred times the others: these are rounded to
    steps of 20 / 63, which leaves next to nothing of them.
    """
    model = copy.deepcopy(run.checkpoint.model)
    with torch.no_grad():
        for layer in layers:
            model.get_parameter(f"layers.{layer}.attention_norm.weight")[0] = 1e-6
            model.get_parameter(f"layers.{layer}.attention_norm.bias")[0] = 0
            model.get_parameter(f"layers.{layer}.ffn_in.weight")[:, 0] = 20
    pool = {name: run.subnets[name] for name in POOL}
    return dataclasses.replace(run, checkpoint=dataclasses.replace(run.checkpoint, model=model), subnets=pool)


def as_the_largest_says(run: Run, rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows with the labels that the planted model's largest subnet gives, so that a ruined graph loses much."""
    checkpoint = run.checkpoint
    encoded = encode(rows, checkpoint.labels, checkpoint.tokenizer, max_length=24)
    labels = []
    with torch.no_grad():
        for number in range(len(rows)):
            logits = checkpoint.model.eval()(encoded.select([number]), run.subnets["w100-d100"]).logits
            labels.append(checkpoint.labels[int(logits.argmax())])
    return tuple(dataclasses.replace(row, label=label) for row, label in zip(rows, labels, strict=True))


def operators(path: Path) -> list[tuple[str, str]]:
    """(operator, first weight) of every node of a graph."""
    model = onnx.load(path, load_external_data=False)
    nodes = [*model.graph.node, *(node for branch in branches(model.graph) for node in branch.node)]
    return [(node.op_type, node.input[1]) for node in nodes if len(node.input) > 1]


def test_the_layers_that_int8_ruins_are_kept_in_fp32(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    for layers in ((0,), (0, 3)):
        ruined = planted(run, layers)
        told = as_the_largest_says(ruined, rows)
        plain = export_bundle(ruined, tmp_path / "plain.gearshift", told, int8_tolerance=0.1)
        assert plain.losses["w100-d100"] > 0.1
        assert plain.wide_layers == ()
        assert plain.bundle.manifest.losses == plain.losses
        report = export_bundle(ruined, tmp_path / "wide.gearshift", told, int8_tolerance=0.1, wider=True)
        assert report.losses == {}
        assert report.wide_layers == layers
        bundle = open_bundle(report.bundle.path)
        assert bundle.manifest.wide_layers == layers
        assert bundle.entry("w100-d100", "int8").accuracy > plain.bundle.entry("w100-d100", "int8").accuracy + 0.1
        session = ElasticSession(bundle, "int8", threads=1)
        check_self_test(session, bundle)
        session.close()
        kinds = {
            int(weight[5]): kind for kind, weight in operators(bundle.path / "int8.onnx") if ".heads0.qkv" in weight
        }
        assert kinds == {layer: "Attention" if layer in layers else "QAttention" for layer in range(4)}
        card = (bundle.path / "README.md").read_text()
        assert f"(counted from 0) in fp32, as they lost too much in int8: {', '.join(map(str, layers))}." in card
        assert "lose more accuracy" not in card
        assert "In int8 these lose more accuracy" in (plain.bundle.path / "README.md").read_text()


def test_a_net_that_int8_does_not_ruin_is_exported_as_it_was(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    plain = export_bundle(run, tmp_path / "plain.gearshift", rows, int8_tolerance=0.2)
    asked = export_bundle(run, tmp_path / "asked.gearshift", rows, int8_tolerance=0.2, wider=True)
    assert asked.wide_layers == plain.wide_layers == ()
    for name in ("int8.onnx", "int8.weights"):
        assert (asked.bundle.path / name).read_bytes() == (plain.bundle.path / name).read_bytes()


def test_where_few_layers_are_not_enough_the_export_says_what_is_still_lost(
    run: Run, rows: tuple[Row, ...], tmp_path: Path
) -> None:
    assert MAX_WIDE < 4
    ruined = planted(run, (0, 1, 2, 3))
    told = as_the_largest_says(ruined, rows)
    plain = export_bundle(ruined, tmp_path / "plain.gearshift", told, int8_tolerance=0.01)
    report = export_bundle(ruined, tmp_path / "wide.gearshift", told, int8_tolerance=0.01, wider=True)
    assert len(report.wide_layers) <= MAX_WIDE
    assert 0.01 < sum(report.losses.values()) <= sum(plain.losses.values())
    assert report.bundle.manifest.losses == report.losses
    lost = max(report.losses, key=lambda name: report.losses[name])
    trimmed = trim_bundle(open_bundle(report.bundle.path), tmp_path / "s.gearshift", keep=[lost])
    assert trimmed.manifest.losses == {lost: report.losses[lost]}
    assert trimmed.manifest.wide_layers == report.wide_layers
    alone = trim_bundle(open_bundle(report.bundle.path), tmp_path / "f.gearshift", keep=[lost], precisions=["fp32"])
    assert (alone.manifest.losses, alone.manifest.wide_layers) == ({}, ())


@pytest.mark.parametrize("tolerance", [-0.1, 1.5, np.nan])
def test_a_tolerance_that_is_no_share_is_refused(
    run: Run, rows: tuple[Row, ...], tmp_path: Path, tolerance: float
) -> None:
    with pytest.raises(InputError, match="int8 tolerance: expected a share of 1"):
        export_bundle(run, tmp_path / "b.gearshift", rows, int8_tolerance=tolerance)
