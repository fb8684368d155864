"""Two heads over one encoder, from data to answers: trained, exported, and run by the engine, by command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gearshift.__main__ import main
from gearshift.errors import InputError
from gearshift.export.dedicated import dedicated_graphs
from gearshift.export.embed import embed_bundle
from gearshift.export.trim import trim_bundle
from gearshift.runtime import Classification, Engine, MultiTask, TokenClassification, Words, open_bundle, pipeline
from gearshift.runtime.inference.session import ElasticSession
from gearshift.server.service import TASK_PATHS, Service
from gearshift.trainer.learning.evaluate import measurements
from gearshift.trainer.model.run import Run, encode_held_out, load_supernet
from gearshift.trainer.model.run_data import read_run_data
from tests.runtime.bench.machine import Machine
from tests.server.asking import asked
from tests.trainer.heads import HEADS, write_heads_data
from tests.trainer.tiny import write_checkpoint

TRAINING = [
    "--max-length", "20", "--batch-size", "8", "--importance-rows", "16", "--teacher-lr", "2e-3", "--teacher-epochs",
    "8", "--depth-epochs", "2", "--widths", "1,.5", "--depths", "1,.5", "--augment", "1",
]  # fmt: skip
TEXT = "we saw snow ice"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("heads")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    """The run that the command trains."""
    data, model = write_heads_data(folder / "data", train=200), write_checkpoint(folder / "model")
    train = ["train", "--heads", HEADS, "--data", str(data), "--model", str(model), "-o", str(folder / "run")]
    assert main([*train, *TRAINING]) == 0
    return load_supernet(folder / "run")


@pytest.fixture(scope="module")
def made(run: Run, folder: Path) -> Path:
    """The bundle that the command exports."""
    assert main(["export", str(run.path), "-o", str(folder / "made.gearshift")]) == 0
    return folder / "made.gearshift"


def test_the_run_has_learnt_both_tasks_and_measures_each(run: Run) -> None:
    rows = encode_held_out(run, read_run_data(run).splits["test"])
    for name, subnet in run.subnets.items():
        found = measurements(run.checkpoint.model, subnet, rows)
        assert run.facts["metrics"][name] == pytest.approx(found)
        assert found["mean"] == pytest.approx((found["intent.accuracy"] + found["slots.entity_f1"]) / 2)
        assert run.accuracies[name] == pytest.approx(found["mean"])
        assert found["intent.accuracy"] > 0.8 and found["slots.entity_f1"] > 0.8, (name, found)


def test_the_manifest_has_the_heads_and_the_accuracy_of_each(run: Run, made: Path) -> None:
    manifest = open_bundle(made).manifest
    assert (manifest.task, manifest.metric, manifest.labels) == ("multi-task", "mean", ())
    assert [(head.name, head.task, head.metric, head.labels) for head in manifest.heads] == [
        ("intent", "classification", "accuracy", ("cold", "hot")),
        ("slots", "token-classification", "entity_f1", ("B-cold", "B-hot", "I-cold", "I-hot", "O")),
    ]
    for entry in manifest.pool:
        assert entry.accuracy == pytest.approx(math.fsum(entry.head_accuracies.values()) / 2)
        if entry.precision == "fp32":
            metrics = run.facts["metrics"][entry.name]
            wanted = {"intent": metrics["intent.accuracy"], "slots": metrics["slots.entity_f1"]}
            assert entry.head_accuracies == pytest.approx(wanted)
            assert entry.dev_accuracy == pytest.approx(run.dev_accuracies[entry.name])


def test_the_model_card_says_what_each_head_is(made: Path) -> None:
    card = (made / "README.md").read_text()
    assert "Mean is that of accuracy of intent and entity_f1 of slots, over 12 held-out rows" in card
    assert "intent: classification, 2 labels: cold, hot." in card
    assert "| intent fp32 | slots fp32 | intent int8 | slots int8 |" in card


def check_answer(answer: Any, logits: tuple[Any, ...], run: Run) -> None:
    """Check that the answers are what torch's numbers of both heads mean."""
    intent, slots = run.checkpoint.heads
    assert isinstance(answer, MultiTask) and list(answer.heads) == ["intent", "slots"]
    label, tags = answer.heads["intent"], answer.heads["slots"]
    assert isinstance(label, Classification) and isinstance(tags, TokenClassification)
    odds = np.exp(logits[0].astype(np.float64))
    assert label.scores == pytest.approx(dict(zip(intent.labels, odds / odds.sum(), strict=True)), abs=1e-4)
    assert [word.label for word in tags.words] == [slots.labels[place] for place in logits[1].argmax(-1)]
    assert (label.subnet, label.latency_ms, tags.tokens) == (answer.subnet, answer.latency_ms, answer.tokens)


def test_every_subnet_answers_by_both_heads_as_torch_does(run: Run, made: Path) -> None:
    rows = read_run_data(run).splits["test"][:4]
    encoded = encode_held_out(run, rows)
    model = run.checkpoint.model.eval()
    with Engine.load(made, precision="fp32", threads=1) as engine:
        for name, subnet in run.subnets.items():
            engine.pin(name)
            several = engine.run([row.text for row in rows])
            for number, row in enumerate(rows):
                with torch.no_grad():
                    label, tags = model(encoded.select([number]), subnet).logits
                logits = (label[0].numpy(), tags[0, 1:-1].numpy())  # every word is one token here
                check_answer(engine.run(row.text), logits, run)
                check_answer(several[number], logits, run)


def test_words_and_future_answers_and_int8_have_both_heads(made: Path) -> None:
    with Engine.load(made, precision="int8", threads=1) as engine:
        answer = engine.run(Words(TEXT.split()), deadline_ms=1000)
        assert [word.text for word in answer.heads["slots"].words] == TEXT.split()
        assert engine.submit(TEXT).result().heads.keys() == {"intent", "slots"}


def test_the_command_shows_and_prints_the_answer_of_each_head(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(made), TEXT, "--precision", "fp32"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("intent: cold  ") and "slots: snow ice (cold)  " in line
    assert main(["run", str(made), TEXT, "--precision", "fp32", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert answer["heads"]["intent"]["label"] == "cold"
    assert answer["heads"]["slots"]["entities"][0]["text"] == "snow ice"
    assert answer["subnet"] and "subnet" not in answer["heads"]["intent"]  # the facts of the run stand once
    assert main(["inspect", str(made)]) == 0
    assert "intent: classification, labels: cold, hot" in capsys.readouterr().out


def test_the_server_answers_with_both_heads(made: Path) -> None:
    with Engine.load(made, precision="fp32", threads=1) as engine:
        service = Service(engine)
        answer = asked(service, TASK_PATHS["multi-task"], {"text": TEXT})
    assert answer["heads"]["intent"]["label"] == "cold"


def test_bench_measures_it_and_an_engine_takes_what_was_measured(made: Path, folder: Path) -> None:
    profile = folder / "profile.json"
    with pytest.MonkeyPatch.context() as patch:
        Machine(open_bundle(made)).take_over(patch)
        bench = ["bench", str(made), "--lengths", "8", "--threads", "1", "--precision", "fp32", "--budget", "3s"]
        assert main([*bench, "-o", str(profile)]) == 0
    with Engine.load(made, profile=profile, threads=1) as engine:
        assert engine.precision == "fp32" and engine.ladder
        assert engine.run(TEXT, deadline_ms=1000).heads.keys() == {"intent", "slots"}


def test_a_search_and_a_training_that_goes_on_keep_the_heads(run: Run, folder: Path) -> None:
    data, again = folder / "data", folder / "again"
    assert main(["prune", str(run.path), "-o", str(again), "--sparsity", ".2", "--epochs", ".1"]) == 0
    assert load_supernet(again).checkpoint.heads == run.checkpoint.heads
    assert main(["search", str(again), "--pool", "3", "--rescored", "4"]) == 0
    assert set(load_supernet(again).subnets) != set(run.subnets)
    further = ["train", "--heads", HEADS, "--data", str(data), "--model", str(again), "-o", str(folder / "further")]
    assert main([*further, *TRAINING[:8], "--teacher-epochs", "0", "--depth-epochs", ".1", "--augment", "0"]) == 0
    made_of = load_supernet(folder / "further").facts["metrics"]["w100-d100"]
    assert made_of["slots.entity_f1"] > 0.8


REFUSED: dict[str, Any] = {
    "trim": lambda bundle, out: trim_bundle(bundle, out, keep=["w050-d050"]),
    "embed, whose readers have one output,": lambda bundle, out: embed_bundle(bundle, out),
    "a comparison with dedicated graphs": lambda bundle, out: dedicated_graphs(bundle),
    "a pipeline": lambda bundle, out: pipeline("text-classification", bundle.path),
}


@pytest.mark.parametrize("what", REFUSED)
def test_that_which_knows_one_output_refuses_several(made: Path, tmp_path: Path, what: str) -> None:
    with pytest.raises(InputError, match=rf"^made: has several heads \(intent, slots\), which {what} cannot take; "):
        REFUSED[what](open_bundle(made), tmp_path / "out")
    assert not (tmp_path / "out").exists()


ASKED: dict[str, Any] = {
    "rank: expected a bundle for": lambda engine: engine.rank("a", ["b"]),
    "encode: expected a bundle for embedding, got multi-task": lambda engine: engine.encode("a"),
    "expected a bundle for token-classification, question-answering": lambda engine: engine.run("a", overlap=4),
    "prompt: expected a bundle whose manifest has vectors": lambda engine: engine.run("a", prompt="a"),
    "classify: expected a classifier of pairs": lambda engine: engine.classify("a", ["b", "c"]),
}


@pytest.mark.parametrize("message", ASKED)
def test_an_engine_refuses_what_is_for_one_task(made: Path, message: str) -> None:
    with Engine.load(made, precision="fp32", threads=1) as engine, pytest.raises(InputError, match=message):
        ASKED[message](engine)


@pytest.mark.parametrize("way", [["--portable", "all"], ["--checkpoint", "w050-d050"]])
def test_an_export_to_models_of_one_task_is_refused(
    run: Run, tmp_path: Path, way: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run.path), "-o", str(tmp_path / "out"), *way]) == 1
    assert f"has several heads (intent, slots), which {way[0]} cannot take" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_heads_lie_outside_of_the_switches(made: Path) -> None:
    bundle = open_bundle(made)
    session = ElasticSession(bundle, "fp32", threads=1)
    inputs = {name: np.ones((1, 3), np.int64) for name in bundle.manifest.inputs}
    label, tags = session.run_heads(inputs, bundle.entry("w050-d050", "fp32").choice)
    assert (label.shape, tags.shape) == ((1, 2), (1, 3, 5))
    with pytest.raises(ValueError, match="unpack"):  # of two outputs there is no single one
        session.run(inputs, bundle.entry("w050-d050", "fp32").choice)
    session.close()
