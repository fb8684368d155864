"""Tests from nothing to a bundle that switches, by the command line."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from examples.demo.commands import generate, write
from gearshift.runtime import Engine
from tests.command_line import Command
from tests.data.make_tiny_bundle import make_checkpoint

FEW_STEPS = ["--max-length", 32, "--batch-size", 32, "--importance-rows", 64, "--teacher-lr", 3e-3]
EPOCHS = ["--teacher-epochs", 1.5, "--width-epochs", 0.5, "--depth-epochs", 0.5]


def test_a_few_steps_of_training_become_a_bundle_that_switches_between_all_subnets(
    command: Command, tmp_path: Path
) -> None:
    splits = generate(train=300, dev=30, test=60)
    write(tmp_path / "data", splits)
    texts = [row.text for row in splits["train"]]
    make_checkpoint(tmp_path / "model", texts, labels=30)
    run, made = tmp_path / "run", tmp_path / "made.gearshift"

    trained = command(
        "train", "--data", tmp_path / "data", "--model", tmp_path / "model", "-o", run, "--json", *FEW_STEPS, *EPOCHS
    )
    assert trained.code == 0, trained.err
    assert trained.json["rows"] == {"train": 300, "dev": 30, "test": 60}
    names = [subnet["name"] for subnet in trained.json["subnets"]]
    assert len(names) == 12
    sizes = [(subnet["macs"], subnet["parameters"]) for subnet in trained.json["subnets"]]
    assert max(sizes) == sizes[0] and min(sizes) == sizes[-1]

    exported = command("export", run, "-o", made, "--licence", "Apache-2.0", "--json")
    assert exported.code == 0, exported.err
    assert exported.json["parity"] < 1e-4
    in_fp32 = {entry["name"]: entry["accuracy"] for entry in exported.json["pool"] if entry["precision"] == "fp32"}
    assert in_fp32 == pytest.approx({subnet["name"]: subnet["accuracy"] for subnet in trained.json["subnets"]})

    given = ("--granularity", "pool", "--precision", "fp32", "--portable", "w025-d050", "--json")
    whole = command("export", run, "-o", tmp_path / "w.gearshift", *given)
    assert [len(stage["options"]) for stage in whole.json["space"]["stages"]] == [12]
    assert whole.json["parity"] < 1e-4
    static = tmp_path / "w.gearshift.portable"
    assert whole.json["portable"] == {"path": str(static), "parity": {"w025-d050": pytest.approx(0, abs=1e-4)}}
    assert (static / "w025-d050" / "model.onnx").is_file()
    refused = command("export", run, "-o", tmp_path / "x.gearshift", "--portable", "w025-d050,huge").error
    assert refused.startswith("portable: unknown subnet 'huge'; expected all, or some of w100-d100, w075-d100")
    assert not (tmp_path / "x.gearshift").exists()

    standard = command("export", run, "-o", tmp_path / "s.gearshift", "--operators", "standard", "--json")
    assert {entry["precision"] for entry in standard.json["pool"]} == {"fp32"}
    model = onnx.load(tmp_path / "s.gearshift" / "fp32.onnx", load_external_data=False)
    assert [opset.domain for opset in model.opset_import] == [""]
    strict = ("--int8-tolerance", 0, "--wider", "--precision", "fp32,int8,fp16")
    mixed = command("export", run, "-o", tmp_path / "m.gearshift", *strict, "--json").json
    in_int8 = [entry for entry in mixed["pool"] if entry["precision"] == "int8"]
    dev_in_fp32 = {one["name"]: one["dev_accuracy"] for one in mixed["pool"] if one["precision"] == "fp32"}
    lost = {entry["name"]: dev_in_fp32[entry["name"]] - entry["dev_accuracy"] for entry in in_int8}  # dev rows choose
    assert mixed["int8_losses"] == {name: pytest.approx(loss) for name, loss in lost.items() if loss > 1e-6}
    assert {entry["precision"] for entry in mixed["pool"]} == {"fp32", "int8", "fp16"}
    refused = command("export", run, "-o", tmp_path / "x.gearshift", "--int8-tolerance", 2).error
    assert refused == "int8 tolerance: expected a share of 1, such as 0.01, got 2.0"

    assert command("verify", made).code == 0
    ended = command("run", made, *texts[:3], "--json", "--save-profile", tmp_path / "profile.json")
    assert [given["text"] for given in ended.json["answers"]] == texts[:3]
    with Engine.load(made, profile=tmp_path / "profile.json") as engine:
        scores: dict[str, dict[str, float]] = {}
        for name in [*names, *reversed(names)]:
            engine.pin(name)
            given = engine.run(texts[0])
            assert given.subnet == name
            assert scores.setdefault(name, given.scores) == given.scores
        assert engine.stats()["switches"] == 22
    assert len({tuple(values.values()) for values in scores.values()}) == 12
