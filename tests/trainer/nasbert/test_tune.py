"""Tuning a net for tasks of several kinds, with and without a teacher."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from gearshift.errors import InputError, ModelError, StorageError
from gearshift.runtime.space.blocks import Block, BlockSubnet
from gearshift.trainer.data.batches import encode
from gearshift.trainer.data.splits import Origin
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.learning.interrupted import read_note
from gearshift.trainer.model.run import Run
from gearshift.trainer.nasbert.run import MixedRun, load_mixed_run, load_run
from gearshift.trainer.nasbert.teacher import TeacherEncoder
from gearshift.trainer.nasbert.train import train_net
from gearshift.trainer.nasbert.tune import TeacherLogits, tune_net
from tests.trainer.nasbert.tiny import NET, TUNE
from tests.trainer.tasks import make_task_data
from tests.trainer.tiny import LABELS, SETTINGS, make_data

DATA = make_data(train=150, test=30)
SUBNET = BlockSubnet((Block(16, ("attention", "conv3")), Block(24, ("ffn",))))
ALONE = dataclasses.replace(TUNE, distillation_weight=0)


@pytest.fixture(scope="module")
def net(teacher: TeacherEncoder, text: Path, tmp_path_factory: pytest.TempPathFactory) -> MixedRun:
    return train_net(SUBNET, teacher, [text], NET, tmp_path_factory.mktemp("net") / "net")


@pytest.fixture(scope="module")
def run(teacher: TeacherEncoder, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The teacher, tuned for the task."""
    settings = dataclasses.replace(
        SETTINGS,
        teacher_epochs=15,
        teacher_lr=2e-3,
        head_lr_factor=4,
        batch_size=16,
        width_epochs=0,
        depth_epochs=0,
        save_every_s=60,
    )
    return train_supernet(teacher.checkpoint.source, DATA, settings, tmp_path_factory.mktemp("run") / "run")


def test_a_net_learns_the_task_and_is_read_again(net: MixedRun, run: Run, tmp_path: Path) -> None:
    assert run.accuracies["w100-d100"] > 0.9
    with pytest.raises(StorageError, match="is the input, and would be overwritten"):
        tune_net(net, run, DATA, TUNE, net.path)
    tuned = tune_net(net, run, DATA, TUNE, tmp_path / "tuned")
    assert tuned.accuracies[SUBNET.name] > 0.6  # a third by chance
    assert tuned.checkpoint.labels == LABELS and tuned.checkpoint.task == "classification"
    assert tuned.facts["net"]["dev_loss"] == net.facts["dev_loss"]
    again = load_run(tuned.path)
    assert isinstance(again, MixedRun) and again.accuracies == tuned.accuracies
    mine, its = (one.checkpoint.model.state_dict() for one in (again, tuned))
    assert all(torch.equal(mine[name], tensor) for name, tensor in its.items())
    assert isinstance(load_run(run.path), Run)


@pytest.mark.parametrize("name", ["glue/rte", "hub:owner/name"])
def test_a_net_tuned_on_a_data_set_of_the_hub_finds_it_again(
    net: MixedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    short = dataclasses.replace(ALONE, epochs=0.1)
    data = dataclasses.replace(DATA, origin=Origin(name))
    tuned = tune_net(net, None, data, short, tmp_path / "tuned")
    monkeypatch.chdir(tmp_path)
    for run in (tuned, load_mixed_run(tuned.path)):
        assert run.data_path == Path(name)


def test_held_out_rows_with_a_label_that_train_lacks_count_as_wrong(net: MixedRun, tmp_path: Path) -> None:
    odd = tuple(dataclasses.replace(row, label="cloudy") for row in DATA.splits["test"])
    data = dataclasses.replace(DATA, splits={**DATA.splits, "test": DATA.splits["test"] + odd})
    short = dataclasses.replace(ALONE, epochs=0.1)
    plain, more = (tune_net(net, None, one, short, tmp_path / name) for name, one in (("a", DATA), ("b", data)))
    assert more.accuracies[SUBNET.name] == plain.accuracies[SUBNET.name] / 2 > 0


def test_the_teachers_answers_are_its_logits_each_computed_once(run: Run) -> None:
    rows = encode(DATA.splits["train"], LABELS, run.checkpoint.tokenizer, max_length=16)
    model = run.checkpoint.model.eval()
    with torch.no_grad():
        expected = torch.cat([model(rows.select([row]), model.full).logits for row in range(len(rows))])
    answers = TeacherLogits(run, rows)
    for seed in (1, 2):
        for batch in rows.batches(16, seed=seed):
            assert torch.allclose(answers.of(batch), expected[batch.indices], atol=1e-5)
        model.train()  # would answer otherwise, but nothing is asked a second time
    model.eval()


def test_the_weight_of_the_teacher_decides_who_is_learnt_from(net: MixedRun, run: Run, tmp_path: Path) -> None:
    """Labels that say something else than the teacher: with all the weight on it, they do not matter."""
    rotated = dict(zip(LABELS, (*LABELS[1:], LABELS[0]), strict=True))
    wrong = dataclasses.replace(
        DATA,
        splits={
            **DATA.splits,
            "train": tuple(dataclasses.replace(row, label=rotated[str(row.label)]) for row in DATA.splits["train"]),
        },
    )
    found = {
        weight: tune_net(
            net, run, wrong, dataclasses.replace(TUNE, distillation_weight=weight), tmp_path / f"{weight}"
        ).accuracies[SUBNET.name]
        for weight in (0.0, 1.0)
    }
    assert found[1.0] > 0.6 and found[0.0] < 0.4


@pytest.mark.parametrize("task", ["regression", "token-classification", "question-answering"])
def test_every_task_can_be_tuned_for(net: MixedRun, tmp_path: Path, task: str) -> None:
    data = make_task_data(tmp_path / "data", task)
    settings = dataclasses.replace(ALONE, epochs=1, max_length=24)
    tuned = tune_net(net, None, data, settings, tmp_path / "tuned")
    assert tuned.checkpoint.task == task and 0 <= tuned.accuracies[SUBNET.name] <= 1


def test_a_net_tuned_on_questions_without_an_answer_has_a_threshold(net: MixedRun, tmp_path: Path) -> None:
    data = make_task_data(tmp_path / "data", "question-answering")
    settings = dataclasses.replace(ALONE, epochs=1, max_length=24)
    assert not tune_net(net, None, data, settings, tmp_path / "always").thresholds
    splits = {
        split: tuple(dataclasses.replace(row, label=row.label if place % 2 else ()) for place, row in enumerate(rows))
        for split, rows in data.splits.items()
    }
    tuned = tune_net(net, None, dataclasses.replace(data, splits=splits), settings, tmp_path / "tuned")
    assert tuned.thresholds.keys() == {SUBNET.name}
    assert load_mixed_run(tuned.path).thresholds == tuned.thresholds


@pytest.mark.parametrize("count", [2, 3])
def test_a_net_that_was_tuned_gets_a_new_classifier_for_another_task(net: MixedRun, tmp_path: Path, count: int) -> None:
    """Whether the other task has as many labels or not; all else goes on from what it has learnt."""
    short = dataclasses.replace(ALONE, epochs=1)
    first = tune_net(net, None, DATA, short, tmp_path / "first")
    names = ("one", "two", "three")[:count]
    renamed = {label: names[place % count] for place, label in enumerate(LABELS)}
    splits = {
        split: tuple(dataclasses.replace(row, label=renamed[str(row.label)]) for row in rows)
        for split, rows in DATA.splits.items()
    }
    other = dataclasses.replace(DATA, labels=tuple(sorted(names)), splits=splits)
    still = dataclasses.replace(short, lr=0)
    second = tune_net(first, None, other, still, tmp_path / "second").checkpoint.model.state_dict()
    before = first.checkpoint.model.state_dict()
    assert second["classifier.weight"].shape[0] == count
    assert count != 3 or not torch.equal(second["classifier.weight"], before["classifier.weight"])
    assert all(torch.equal(second[name], before[name]) for name in before if not name.startswith("classifier."))


def test_a_teacher_that_is_missing_or_answers_something_else_is_refused(
    net: MixedRun, run: Run, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"pass a run of `gearshift train`, or set distillation_weight to 0"):
        tune_net(net, None, DATA, TUNE, tmp_path / "tuned")
    other = dataclasses.replace(DATA, labels=("cold", "hot", "warm"))
    with pytest.raises(InputError, match=r"expected a teacher for classification of the labels cold, hot, warm"):
        tune_net(net, run, other, TUNE, tmp_path / "tuned")
    with pytest.raises(InputError, match="expected a task with labels to tune a net for"):
        tune_net(net, run, dataclasses.replace(DATA, task="embedding"), TUNE, tmp_path / "tuned")
    with pytest.raises(InputError, match="expected max_length of at most the net's 32 positions"):
        tune_net(net, run, DATA, dataclasses.replace(TUNE, max_length=33), tmp_path / "tuned")
    two = dataclasses.replace(net, subnets={"a": SUBNET, "b": SUBNET})
    with pytest.raises(ModelError, match="expected the run of one net, found 2"):
        tune_net(two, run, DATA, TUNE, tmp_path / "tuned")
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_damaged_is_refused(net: MixedRun, tmp_path: Path) -> None:
    for name in ("mixed.json", "model.safetensors", "pool.json"):
        copied = tmp_path / name.split(".")[0]
        copied.mkdir()
        for path in net.path.iterdir():
            (copied / path.name).write_bytes(path.read_bytes())
        (copied / name).write_bytes((copied / name).read_bytes()[:-40])
        with pytest.raises(ModelError, match=rf"{name}: .+; train again"):
            load_mixed_run(copied)


def test_a_tuning_does_not_go_on_with_other_weights_at_the_same_place(
    net: MixedRun, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    copied = tmp_path / "net"
    copied.mkdir()
    for path in net.path.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr("gearshift.trainer.nasbert.tune.run_stage", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tune_net(load_mixed_run(copied), run, DATA, TUNE, tmp_path / "tuned")
    weights = copied / "model.safetensors"
    state = safetensors.torch.load_file(weights)
    weights.write_bytes(safetensors.torch.save({name: 2 * tensor for name, tensor in state.items()}))
    with pytest.raises(InputError, match=r"other settings or rows \(net_weights\)"):
        tune_net(load_mixed_run(copied), run, DATA, TUNE, tmp_path / "tuned")
    description = tmp_path / "tuned.partial" / "training.json"
    known = read_note(description)
    del known["net_weights"], known["teacher_weights"]  # as an older version wrote it
    description.write_text(json.dumps(known))
    with pytest.raises(KeyboardInterrupt):
        tune_net(load_mixed_run(copied), run, DATA, TUNE, tmp_path / "tuned")
