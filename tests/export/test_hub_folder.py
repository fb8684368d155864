"""A folder in the hub's layout: what loads it, and its card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import transformers

from gearshift.errors import InputError, StorageError
from gearshift.export.hub_folder import hub_card, write_hub_folder
from gearshift.export.pipeline import ExportReport
from gearshift.runtime import Bundle, Engine
from gearshift.runtime.profiles.store import this_device
from gearshift.trainer import Supernet
from gearshift.trainer.model.run import Run, load_supernet
from tests.command_line import Command
from tests.export.test_sentence_vectors import run_of
from tests.runtime.dans import made_table
from tests.runtime.files.test_hub_cache import put
from tests.trainer.sentence_models import LAYOUTS, write_sentence_model
from tests.trainer.tiny import random_batch, write_checkpoint


@pytest.fixture(scope="module")
def folder(run: Run, exported: ExportReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = made_table(dict.fromkeys(run.subnets, (1.25, 2.5)), exported.bundle.hash)
    out = tmp_path_factory.mktemp("hub") / "folder"
    return write_hub_folder(run, exported.bundle, out, table, this_device())


def test_an_engine_a_supernet_and_transformers_load_it(folder: Path, run: Run, exported: ExportReport) -> None:
    with Engine.from_pretrained(folder, precision="fp32", threads=1) as engine:
        assert engine.bundle.hash == exported.bundle.hash
        assert engine.run("snow and ice").label in engine.labels
    net = Supernet.from_pretrained(folder).eval()
    assert net.subnets == run.subnets
    batch = random_batch([5, 9], run.checkpoint.model.shape)
    full = net(batch).logits
    assert (full - run.checkpoint.model.eval()(batch, run.checkpoint.model.full).logits).abs().max() < 1e-6
    with pytest.raises(InputError, match="is a supernet, whose narrow subnets need the order"):
        net.rank([batch])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    theirs = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, token_type_ids=batch.token_type_ids)
    assert (theirs.logits - full).abs().max() < 1e-5


def test_a_supernet_of_an_embedding_keeps_its_modules_and_prompt(tmp_path: Path) -> None:
    layout = LAYOUTS["default prompt that the pooling leaves out"]
    path = write_sentence_model(tmp_path / "model", layout, write_checkpoint(tmp_path / "tiny"))
    run = run_of(path, tmp_path / "run")
    net, batch = Supernet.from_pretrained(run.path).eval(), random_batch([7, 9], run.checkpoint.model.shape)
    full = run.checkpoint.model.full
    assert net.task == "embedding"
    assert (net(batch).logits - run.checkpoint.model.eval()(batch, full).logits).abs().max() < 1e-6
    net.save(tmp_path / "again", transformers.AutoTokenizer.from_pretrained(run.path), max_length=32)
    again = load_supernet(tmp_path / "again").checkpoint
    assert again.sentence == run.checkpoint.sentence
    assert (again.model.eval()(batch, full).logits - net(batch).logits).abs().max() < 1e-6


def test_a_supernet_is_loaded_by_the_name_of_a_cached_repository(
    folder: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = shutil.copytree(folder, tmp_path / "plain", ignore=shutil.ignore_patterns("bundle"))
    put(tmp_path / "hub", "someone/mine", plain)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert Supernet.from_pretrained("someone/mine").subnets == run.subnets


def test_the_card_has_the_fields_of_the_hub_and_both_figures_of_every_subnet(
    folder: Path, exported: ExportReport
) -> None:
    _, front, body = (folder / "README.md").read_text().split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    assert json.loads(fields["library_name"]) == "gearshift"
    assert json.loads(fields["pipeline_tag"]) == "text-classification"
    assert json.loads(fields["license"]) == "apache-2.0"
    latencies = body.partition("## Accuracy and latency")[2].partition("Median ms")[0]
    rows = [line.strip("| ").split(" | ") for line in latencies.splitlines() if line.startswith("|")]
    assert rows[0][:2] == ["subnet", "accuracy"] and rows[0][2].endswith(" tokens")
    accuracies = {entry.name: entry.accuracy for entry in exported.bundle.pool("fp32").values()}
    assert [(row[0], row[1], row[2:]) for row in rows[2:]] == [
        (name, f"{100 * accuracy:.1f} %", ["1.25", "2.50"]) for name, accuracy in accuracies.items()
    ]
    assert this_device().cpu_model in body
    assert "MACs at 128 tokens" in body


def test_no_place_of_this_machine_is_in_it(folder: Path, run: Run) -> None:
    for path in folder.rglob("*.json"):
        assert str(run.path.parent) not in path.read_text(), path
    assert load_supernet(folder).facts["data"] is None


def test_a_bundle_or_latencies_of_another_model_are_refused(
    run: Run, exported: ExportReport, bundle: Bundle, tmp_path: Path
) -> None:
    other = made_table(dict.fromkeys(run.subnets, (1.0, 2.0)), "0" * 64)
    for given, told in ((bundle, "found one of another model"), (exported.bundle, "found those of another one")):
        with pytest.raises(InputError, match=told):
            write_hub_folder(run, given, tmp_path / "out", other, this_device())
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_none_of_these_is_not_replaced(run: Run, exported: ExportReport, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    table = made_table(dict.fromkeys(run.subnets, (1.0, 2.0)), exported.bundle.hash)
    with pytest.raises(StorageError, match=r"is not empty and has no bundle/manifest\.json"):
        write_hub_folder(run, exported.bundle, tmp_path, table, this_device())
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_model_of_the_hub_is_named_as_its_base(exported: ExportReport) -> None:
    table = made_table({"w100-d100": (1.0, 2.0)}, exported.bundle.hash)
    manifest = exported.bundle.manifest
    assert 'base_model: "someone/base"' in hub_card(manifest, table, this_device(), "someone/base")
    assert "base_model" not in hub_card(manifest, table, this_device(), "/home/me/base")


def test_the_command_writes_it_with_latencies_of_this_device(
    run: Run, exported: ExportReport, tmp_path: Path, command: Command
) -> None:
    call = ("hub", run.path, exported.bundle.path, "-o", tmp_path / "out", "--threads", 1, "--precision", "int8")
    ended = command(*call, "--json")
    assert ended.json == {"folder": str(tmp_path / "out"), "precision": "int8", "threads": 1}
    assert "int8, 1 threads" in (tmp_path / "out" / "README.md").read_text()
    assert command(*call).code == 0, "and over an older one"
    assert command("inspect", tmp_path / "out" / "bundle").code == 0
