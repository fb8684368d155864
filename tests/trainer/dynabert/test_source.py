"""The model that a training starts from: the order of a supernet is kept, and what it lacks is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from gearshift.__main__ import main
from gearshift.errors import InputError, ModelError
from gearshift.trainer.data.batches import encode
from gearshift.trainer.dynabert import train
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.settings_file import read_settings
from gearshift.trainer.dynabert.supernet import Supernet
from gearshift.trainer.dynabert.supernet_trainer import SupernetTrainer
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.run import SUPERNET, Run, load_supernet, save_run
from tests.trainer.brought import dropped, prune_heads
from tests.trainer.tiny import LABELS, SETTINGS, make_data, random_batch, scatter

DATA = make_data()
NOTHING = dataclasses.replace(
    SETTINGS, teacher_epochs=0, width_epochs=0, depth_epochs=0, importance_rows=None, save_every_s=1e9
)
"""A training of no epochs."""
KEPT = "is a supernet, its heads and neurons keep their order; --importance-rows N ranks them anew"
ANEW = "is a supernet, its heads and neurons were ranked anew: what its narrow subnets had learnt is lost"


def settings(**values: Any) -> Settings:
    return dataclasses.replace(NOTHING, **values)


@pytest.fixture(scope="module")
def source(checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A supernet whose subnets are far apart, and whose heads and neurons are in any order."""
    path = tmp_path_factory.mktemp("source") / "run"
    checkpoint = load_checkpoint(checkpoint_path, LABELS)
    torch.manual_seed(0)
    scatter(checkpoint.model)
    grid = checkpoint.model.grid()
    save_run(path, checkpoint, subnets=grid, accuracies={}, facts={"max_length": 16})
    return load_supernet(path)


@torch.no_grad()
def answers(model: Any, run: Run) -> dict[str, torch.Tensor]:
    batch = random_batch([5, 12, 9], model.shape)
    return {name: model.eval()(batch, subnet).logits for name, subnet in run.subnets.items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> dict[str, bool]:
    return {name: torch.allclose(one[name], other[name], atol=1e-5) for name in one}


@pytest.mark.parametrize("rows", [None, 0])
def test_the_small_subnets_of_a_supernet_survive_a_training_of_no_epochs(
    rows: int | None, source: Run, tmp_path: Path
) -> None:
    run = train_supernet(source.path, DATA, settings(importance_rows=rows), tmp_path / "run")
    assert all(same(answers(source.checkpoint.model, source), answers(run.checkpoint.model, source)).values())
    assert run.facts["notes"] == [f"{source.path}: {KEPT}"]


def test_a_supernet_is_ranked_anew_where_rows_are_named(source: Run, tmp_path: Path) -> None:
    run = train_supernet(source.path, DATA, settings(importance_rows=16), tmp_path / "run")
    found = same(answers(source.checkpoint.model, source), answers(run.checkpoint.model, source))
    assert [name for name, kept in found.items() if kept] == ["w100-d100", "w100-d075", "w100-d050"]
    (note,) = run.facts["notes"]
    assert note.startswith(f"{source.path}: {ANEW}")


def test_other_models_are_ranked_unless_told_otherwise(source: Run, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    save_run(plain, source.checkpoint, subnets={}, accuracies={}, facts={})
    (plain / SUPERNET).unlink()
    before = answers(source.checkpoint.model, source)
    ranked = train_supernet(plain, DATA, NOTHING, tmp_path / "ranked")
    assert not same(before, answers(ranked.checkpoint.model, source))["w025-d100"]
    assert ranked.facts["notes"] == []
    left = train_supernet(plain, DATA, settings(importance_rows=0), tmp_path / "left")
    assert all(same(before, answers(left.checkpoint.model, source)).values())
    assert left.facts["notes"] == [
        f"{plain}: its heads and neurons were not ranked and stay as they are (--importance-rows 0)"
    ]


def test_settings_of_a_run_keep_the_order_of_a_run_when_they_are_taken_again(source: Run, tmp_path: Path) -> None:
    run = train_supernet(source.path, DATA, NOTHING, tmp_path / "run")
    assert read_settings(run.path / "settings.toml") == NOTHING
    again = train_supernet(run.path, DATA, read_settings(run.path / "settings.toml"), tmp_path / "again")
    assert all(same(answers(source.checkpoint.model, source), answers(again.checkpoint.model, source)).values())


def test_the_command_says_in_a_line_that_the_order_is_kept(
    source: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.tsv"
    rows = [f"{row.text}\t{row.label}\n" for row in make_data(60).splits["train"]]
    data.write_text("".join(["sentence\tlabel\n", *rows]))
    none = [part for stage in ("teacher", "width", "depth") for part in (f"--{stage}-epochs", "0")]
    call = ["train", "--data", str(data), "--model", str(source.path), "--max-length", "16", *none]
    assert main([*call, "-o", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.count(f"{source.path}: {KEPT}\n") == 1
    assert main([*call, "-o", str(tmp_path / "anew"), "--importance-rows", "8", "--json"]) == 0
    assert ANEW in json.loads(capsys.readouterr().out)["notes"][-1]


# From Python


def convert(path: Path) -> Supernet:
    return Supernet.convert(transformers.AutoModelForSequenceClassification.from_pretrained(path))


def test_a_supernet_of_a_loop_of_ones_own_keeps_its_order(source: Run, tmp_path: Path) -> None:
    supernet = convert(source.path)
    batch = random_batch([5, 12, 9], supernet.model.shape, labels=len(LABELS))
    with pytest.raises(InputError, match=r"rank: .* is a supernet, .*; leave rank out to keep it, or pass anew=True$"):
        supernet.rank([batch])
    assert all(same(answers(source.checkpoint.model, source), answers(supernet.model, source)).values())
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.path)
    supernet.save(tmp_path / "kept", tokenizer, max_length=16)
    assert load_supernet(tmp_path / "kept").facts["notes"] == [f"{source.path}: {KEPT}"]
    supernet.rank([batch], anew=True)
    assert not same(answers(source.checkpoint.model, source), answers(supernet.model, source))["w025-d100"]
    supernet.save(tmp_path / "anew", tokenizer, max_length=16)
    assert ANEW in load_supernet(tmp_path / "anew").facts["notes"][0]


def test_a_trainer_keeps_the_order_of_a_supernet(source: Run, tmp_path: Path) -> None:
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=1, learning_rate=0, report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True
    )
    rows = encode(DATA.splits["train"], LABELS, source.checkpoint.tokenizer, max_length=16)
    given = [{"input_ids": ids.tolist()[:1], "attention_mask": [1], "labels": 0} for ids in rows.ids]
    trainer = SupernetTrainer(convert(source.path), arguments, train_dataset=given)
    trainer.train()
    assert all(same(answers(source.checkpoint.model, source), answers(trainer.supernet.model, source)).values())


# What a source lacks


def test_a_head_that_is_only_named_needs_the_teacher_stage_and_is_said(source: Run, tmp_path: Path) -> None:
    headless = tmp_path / "headless"
    save_run(headless, source.checkpoint, subnets={}, accuracies={}, facts={})
    (headless / SUPERNET).unlink()
    dropped("classifier.")(headless)
    message = r"headless: has no classifier for the labels cold, hot, mild \(classifier.bias, classifier.weight: not in"
    with pytest.raises(ModelError, match=message):
        train_supernet(headless, DATA, NOTHING, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    run = train_supernet(headless, DATA, settings(teacher_epochs=0.1), tmp_path / "run")
    assert run.facts["notes"] == [
        f"{headless}: its config.json names a head, its weights have none (classifier.bias, classifier.weight); "
        "the teacher stage trained a new one"
    ]


def test_pruned_heads_are_said_and_trained_as_they_are(source: Run, tmp_path: Path) -> None:
    pruned = tmp_path / "pruned"
    save_run(pruned, source.checkpoint, subnets={}, accuracies={}, facts={})
    (pruned / SUPERNET).unlink()
    prune_heads(pruned, {1: [0, 3], 3: [2]})
    run = train_supernet(pruned, DATA, settings(width_epochs=0.5, mixed_widths=True), tmp_path / "run")
    assert run.facts["notes"] == [f"{pruned}: has pruned heads; its layers have 4, 2, 4, 3 of 4"]
    assert run.subnets["w100-d100"].layers == ((4, 64), (2, 64), (4, 64), (3, 64))
    assert run.checkpoint.model.full == run.subnets["w100-d100"]


TUNING = {"teacher_epochs": 0.5, "teacher_lr": 1e-2}


def test_a_supernet_is_put_back_after_the_teacher_stage_and_its_tuned_net_teaches(source: Run, tmp_path: Path) -> None:
    brought, tuned = (
        train_supernet(source.path, DATA, settings(**TUNING, start=start), tmp_path / str(start)).checkpoint.model
        for start in (None, "tuned")
    )
    was, now, moved = (model.encoder_state() for model in (source.checkpoint.model, brought, tuned))
    assert all(torch.equal(now[name], was[name]) for name in was)
    assert not any(torch.equal(moved[name], was[name]) for name in was if name.endswith("ffn_in.weight"))
    assert torch.equal(brought.classifier.weight, tuned.classifier.weight)
    assert not torch.equal(brought.classifier.weight, source.checkpoint.model.classifier.weight)


def test_what_was_brought_learns_from_the_tuned_net_in_every_stage(source: Run, tmp_path: Path) -> None:
    def full(name: str, **values: Any) -> torch.Tensor:
        run = train_supernet(source.path, DATA, settings(**TUNING, **values), tmp_path / name)
        return answers(run.checkpoint.model, run)["w100-d100"]

    tuned, before = full("tuned", start="tuned"), full("before")
    for stage in ("width", "depth"):
        after = full(stage, **{f"{stage}_epochs": 4, f"{stage}_lr": 1e-3})
        assert (after - tuned).abs().mean() < 0.8 * (before - tuned).abs().mean()


def test_an_interrupted_training_that_starts_from_what_was_brought_ends_as_an_uninterrupted_one(
    source: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(**TUNING, depth_epochs=2)
    whole = train_supernet(source.path, DATA, chosen, tmp_path / "whole")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(train, "distil_stage", stop)
        with pytest.raises(KeyboardInterrupt):
            train_supernet(source.path, DATA, chosen, tmp_path / "again")
    again = train_supernet(source.path, DATA, chosen, tmp_path / "again")
    one, other = (run.checkpoint.model.state_dict() for run in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_order_of_the_tuned_net_and_the_brought_one_do_not_go_together(source: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="set importance_rows to 0, or start to tuned"):
        train_supernet(source.path, DATA, settings(start="brought", importance_rows=8), tmp_path / "run")
    assert not any(tmp_path.iterdir())
