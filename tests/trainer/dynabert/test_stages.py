"""Tests of what each setting of the stages does, seen from outside on a tiny task."""

import dataclasses
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gearshift.errors import InputError, ModelError
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import Batch, encode
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.stages import Training, distil_losses, make_teacher
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.learning.distillation import Targets, Teacher, distill_loss
from gearshift.trainer.learning.interrupted import STATE
from gearshift.trainer.learning.losses import hidden_loss, label_loss, soft_cross_entropy
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.elastic import ElasticClassifier, Output
from gearshift.trainer.model.run import Run, load_supernet
from tests.command_line import Command
from tests.trainer.tasks import make_task_data
from tests.trainer.tiny import LABELS, SETTINGS, SHAPE, make_data, random_batch, random_model

DATA = make_data()
GRID = uniform_grid(SHAPE)
NAMES = {subnet: name for name, subnet in GRID.items()}


def changed(**values: Any) -> Settings:
    nothing = {"teacher_epochs": 0.1, "width_epochs": 0, "depth_epochs": 0, "save_every_s": 1e9}
    return dataclasses.replace(SETTINGS, **{**nothing, **values})


Pass = tuple[bool, str, tuple[int, ...]]
"""Whether it was to learn, of which subnet, and the shape of the ids."""


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[Pass]:
    """The forward passes of all models."""
    seen: list[Pass] = []
    really_forward = ElasticClassifier.forward

    def forward(model: ElasticClassifier, batch: Batch, subnet: Subnet, *rest: Any) -> Any:
        learns = torch.is_grad_enabled() and model.training
        seen.append((learns, NAMES.get(subnet, "mixed"), tuple(batch.input_ids.shape)))
        return really_forward(model, batch, subnet, *rest)

    monkeypatch.setattr(ElasticClassifier, "forward", forward)
    return seen


def distilled(passes: list[Pass]) -> tuple[list[str], list[str]]:
    """Return what learnt and what taught, between teacher stage (one step, two batches that rank) and measuring."""
    between = passes[3:-24]
    return [name for learns, name, _ in between if learns], [name for learns, name, _ in between if not learns]


def train(checkpoint_path: Path, tmp_path: Path, **values: Any) -> Run:
    return train_supernet(checkpoint_path, DATA, changed(**values), tmp_path / "run")


def test_a_width_stage_has_widths_at_full_depth_and_one_pass_of_the_teacher_a_batch(
    checkpoint_path: Path, tmp_path: Path, passes: list[Pass]
) -> None:
    train(checkpoint_path, tmp_path, width_epochs=1, sampling="all")
    learnt, taught = distilled(passes)
    assert learnt == ["w025-d100", "w050-d100", "w075-d100", "w100-d100"] * 3
    assert taught == ["w100-d100"] * 3


@pytest.mark.parametrize(
    ("values", "times"),
    [
        ({"width_epochs": 2}, 3),  # 24 rows in batches of 8: as many as the rows take, not as the steps do
        ({"width_epochs": 1.2}, 4),
        ({"width_epochs": 2, "teacher_cache_gb": 0}, 6),
        ({"width_epochs": 2, "teacher_cache_gb": 2e-6}, 6),  # 24 rows of 3 and more tokens take above 18 kB
        ({"width_epochs": 2, "augment": 1}, 6),
        ({"depth_only_epochs": 2}, 3),
        ({"depth_epochs": 2}, 3),
    ],
)
def test_in_a_stage_that_sees_rows_again_the_teacher_runs_once_for_each_row(
    checkpoint_path: Path, tmp_path: Path, passes: list[Pass], values: dict[str, Any], times: int
) -> None:
    train(checkpoint_path, tmp_path, **values)
    taught = distilled(passes)[1]
    assert taught == ["w100-d100"] * times


def test_a_teacher_of_each_width_runs_at_every_step(checkpoint_path: Path, tmp_path: Path, passes: list[Pass]) -> None:
    train(checkpoint_path, tmp_path, depth_epochs=2, sampling="all", same_width_teacher=True)
    assert distilled(passes)[1] == ["w025-d100", "w050-d100", "w075-d100", "w100-d100"] * 6


def test_a_kept_teacher_comes_to_the_weights_of_one_that_runs_at_every_step_but_for_rounding(
    checkpoint_path: Path, tmp_path: Path
) -> None:
    def weights(**values: Any) -> Tensor:
        settings = changed(distil_dropout=False, sampling="all", **values)
        run = train_supernet(checkpoint_path, DATA, settings, tmp_path / f"{len(list(tmp_path.iterdir()))}")
        return torch.cat([weight.flatten() for weight in run.checkpoint.model.parameters()])

    # Adam makes steps of rounding where gradients are about zero: the full net begins as its own teacher.
    before = weights()
    runs, kept = (weights(depth_epochs=2, teacher_cache_gb=size) for size in (0, 8))
    assert not torch.equal(runs, kept)  # its states are of float16
    assert (runs - kept).norm() < 0.2 * (runs - before).norm()


def test_without_room_on_the_disk_the_teacher_runs_at_every_step(
    checkpoint_path: Path, tmp_path: Path, passes: list[Pass], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    train(checkpoint_path, tmp_path, width_epochs=2)
    assert len(distilled(passes)[1]) == 6


def test_states_beyond_float16_are_not_kept(
    checkpoint_path: Path, tmp_path: Path, passes: list[Pass], monkeypatch: pytest.MonkeyPatch
) -> None:
    really_half = torch.finfo(torch.float16).max
    original = Tensor.to

    def to(tensor: Tensor, *given: Any, **named: Any) -> Tensor:
        converted: Tensor = original(tensor, *given, **named)
        return converted + 2 * really_half if given == (torch.float16,) else converted

    monkeypatch.setattr(Tensor, "to", to)
    train(checkpoint_path, tmp_path, width_epochs=2)
    assert len(distilled(passes)[1]) == 1 + 6  # the first batch shows it


def test_a_depth_stage_of_all_subnets_as_in_the_paper(
    checkpoint_path: Path, tmp_path: Path, passes: list[Pass]
) -> None:
    train(checkpoint_path, tmp_path, depth_epochs=1, sampling="all")
    learnt, taught = distilled(passes)
    assert sorted(learnt) == sorted(list(GRID) * 3)
    assert learnt[11] == "w100-d100"  # the last of a step has a gradient for every weight
    assert taught == ["w100-d100"] * 3


def test_the_stage_of_progressive_shrinking_has_depths_at_full_width(
    checkpoint_path: Path, tmp_path: Path, passes: list[Pass]
) -> None:
    train(checkpoint_path, tmp_path, depth_only_epochs=1, sampling="all")
    assert set(distilled(passes)[0]) == {"w100-d100", "w100-d075", "w100-d050"}


def test_the_same_width_teacher_runs_once_for_each_width_of_a_step(
    checkpoint_path: Path, tmp_path: Path, passes: list[Pass]
) -> None:
    train(checkpoint_path, tmp_path, depth_epochs=1, sampling="all", same_width_teacher=True)
    assert distilled(passes)[1] == ["w025-d100", "w050-d100", "w075-d100", "w100-d100"] * 3


def test_in_place_subnets_learn_from_the_full_net_of_that_step(
    checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: list[tuple[bool, bool]] = []  # whether the full net learns, and whether from the teacher

    def seen(student: Output, teacher: Output, batch: Batch, subnet: Subnet, **weights: Any) -> Tensor:
        pairs.append((NAMES[subnet] == "w100-d100", id(teacher) in fixed))
        return distill_loss(student, teacher, batch, subnet, **weights)

    fixed: set[int] = set()
    kept: list[Output] = []  # an id is one object's as long as that lives
    really_of = Targets.of

    def of(targets: Targets, subnet: Subnet) -> Output:
        output = really_of(targets, subnet)
        kept.append(output)
        if not any(weight.requires_grad for weight in targets.teacher.model.parameters()):
            fixed.add(id(output))
        return output

    monkeypatch.setattr("gearshift.trainer.dynabert.stages.distill_loss", seen)
    monkeypatch.setattr(Targets, "of", of)
    train(checkpoint_path, tmp_path, depth_epochs=1, in_place=True)
    assert pairs == [(False, False), (False, False), (True, True)] * 3


def test_random_subnets_alone_are_as_many_as_asked_for(
    checkpoint_path: Path, tmp_path: Path, passes: list[Pass]
) -> None:
    train(checkpoint_path, tmp_path, depth_epochs=1, sampling="random", random_subnets=2)
    assert len(distilled(passes)[0]) == 6


def test_mixed_widths_are_trained_beside_the_ends(checkpoint_path: Path, tmp_path: Path, passes: list[Pass]) -> None:
    train(checkpoint_path, tmp_path, depth_epochs=1, random_subnets=2, mixed_widths=True)
    learnt, _ = distilled(passes)
    assert learnt.count("mixed") >= 3
    assert learnt.count("w100-d100") == learnt.count("w025-d050") == 3


def test_the_final_stage_learns_all_subnets_from_labels_without_a_teacher(
    checkpoint_path: Path, tmp_path: Path, passes: list[Pass]
) -> None:
    before = train(checkpoint_path, tmp_path).checkpoint.model.state_dict()
    passes.clear()
    settings = {"final_epochs": 1, "final_lr": 1e-3, "sampling": "all", "augment": 2}
    after = train(checkpoint_path, tmp_path, **settings).checkpoint.model.state_dict()
    learnt, taught = distilled(passes)
    assert sorted(learnt) == sorted(list(GRID) * 3)  # three steps: the 24 rows themselves, without their copies
    assert taught == []
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ["final_epochs", "label_weight"])
def test_an_embedding_has_no_labels_to_learn_from(checkpoint_path: Path, tmp_path: Path, name: str) -> None:
    data = make_task_data(tmp_path / "data", "embedding")
    with pytest.raises(InputError, match=f"{name}: an embedding has no labels to learn from; set it to 0"):
        train_supernet(checkpoint_path, data, changed(**{name: 1}), tmp_path / "run")


def test_labels_weigh_beside_the_teacher_s_answers(checkpoint_path: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(checkpoint_path, LABELS)
    checkpoint.model.eval()
    rows = encode(DATA.splits["train"], LABELS, checkpoint.tokenizer, max_length=16)
    batch = rows.select(range(8))

    def losses(weight: float) -> list[float]:
        training = Training(checkpoint, changed(label_weight=weight, sampling="all"), rows, tmp_path)
        made = distil_losses(training, list(GRID.values()), 1.0, make_teacher(training))
        return [float(loss()) for loss in made(checkpoint.model, batch, 0)]

    with torch.no_grad():
        subnets = reversed(
            Training(checkpoint, changed(sampling="all"), rows, tmp_path).sampler(list(GRID.values())).draw(0)
        )
        own = [float(label_loss(checkpoint.model(batch, subnet).logits, batch)) for subnet in subnets]
        assert losses(0.5) == pytest.approx([loss + 0.5 * mine for loss, mine in zip(losses(0.0), own, strict=True)])


def test_no_more_rows_are_computed_at_once_than_asked_for(
    checkpoint_path: Path, tmp_path: Path, passes: list[Pass]
) -> None:
    train(checkpoint_path, tmp_path, depth_epochs=1, micro_batch=3)
    assert max(shape[0] for _, _, shape in passes[:-24]) == 3  # the last measure


@pytest.mark.parametrize(
    ("passes_before", "message"),
    [
        (1, "^importance: out of memory; set micro_batch, e.g. 8, or lower batch_size or max_length$"),
        (3, "^measuring the held-out rows: out of memory; lower max_length"),
    ],
)
def test_ranking_and_measuring_too_say_what_to_lower_where_memory_runs_out(
    checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes_before: int, message: str
) -> None:
    """After the one step of a teacher stage two batches rank, and then subnets are measured."""
    left = iter([True] * passes_before)
    really_forward = ElasticClassifier.forward

    def forward(*arguments: Any) -> Any:
        if not next(left, False):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 2 GiB")
        return really_forward(*arguments)

    monkeypatch.setattr(ElasticClassifier, "forward", forward)
    with pytest.raises(ModelError, match=message):
        train(checkpoint_path, tmp_path)


def test_distillation_sees_each_row_and_its_copies(checkpoint_path: Path, tmp_path: Path, passes: list[Pass]) -> None:
    train(checkpoint_path, tmp_path, width_epochs=1, augment=2, widths=(1.0,))
    between = passes[3:-3]
    assert sum(shape[0] for learns, _, shape in between if learns) == 24 * 3


def test_augmented_rows_are_the_same_when_a_later_stage_is_resumed(
    checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = changed(teacher_epochs=1, width_epochs=1, depth_epochs=1, augment=1, save_every_s=0)
    whole = train_supernet(checkpoint_path, DATA, settings, tmp_path / "whole").checkpoint.model.state_dict()
    count = 0
    really_forward = ElasticClassifier.forward

    def forward(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == 40:
            raise KeyboardInterrupt
        return really_forward(*arguments)

    monkeypatch.setattr(ElasticClassifier, "forward", forward)
    with pytest.raises(KeyboardInterrupt):
        train_supernet(checkpoint_path, DATA, settings, tmp_path / "run")
    assert (tmp_path / "run.partial" / "after-width.safetensors").is_file()
    again = train_supernet(checkpoint_path, DATA, settings, tmp_path / "run").checkpoint.model.state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_stages_that_are_evaluated_end_with_the_weights_that_dev_rows_like_best(
    checkpoint_path: Path, tmp_path: Path
) -> None:
    """Check it at a rate so high that the last weights are hardly ever the best."""
    settings = changed(teacher_epochs=6, teacher_lr=3e-2, warmup=0, evaluate_every=1 / 3, save_every_s=1e9)
    best = train_supernet(checkpoint_path, DATA, settings, tmp_path / "best")
    last = train_supernet(checkpoint_path, DATA, dataclasses.replace(settings, evaluate_every=0), tmp_path / "last")

    def right(run: Run) -> float:
        checkpoint = run.checkpoint
        (batch,) = encode(DATA.splits["dev"], LABELS, checkpoint.tokenizer, max_length=16).batches(6)
        with torch.no_grad():
            logits = checkpoint.model.eval()(batch, checkpoint.model.full).logits
        return float((logits.argmax(-1) == batch.labels).float().mean())

    assert right(best) >= right(last)
    assert right(best) > 1 / 3


# The loss of distillation


def test_the_loss_is_that_of_answers_and_of_states_by_their_weights() -> None:
    model, batch, subnet = random_model(), random_batch([4, 7]), GRID["w050-d050"]
    teacher = Teacher(model)
    student, target = model(batch, subnet), teacher.teach(batch).of(subnet)
    answers = soft_cross_entropy(student.logits, target.logits)
    states = hidden_loss(student, target, subnet, batch)
    for logit_weight, hidden_weight in ((1.0, 0.1), (0.0, 1.0), (2.0, 0.0)):
        found = distill_loss(
            student,
            target,
            batch,
            subnet,
            task="classification",
            logit_weight=logit_weight,
            hidden_weight=hidden_weight,
        )
        assert found.item() == pytest.approx((logit_weight * answers + hidden_weight * states).item(), rel=1e-5)


@pytest.mark.parametrize("same_width", [False, True])
def test_a_teacher_stays_as_it_was_and_has_no_gradient(same_width: bool) -> None:
    model, batch, subnet = random_model(), random_batch([4, 7]), GRID["w050-d050"]
    teacher = Teacher(model.train(), same_width=same_width)
    expected = model.eval()(batch, GRID["w050-d100" if same_width else "w100-d100"]).logits
    with torch.no_grad():
        next(model.parameters()).add_(1)
    target = teacher.teach(batch).of(subnet)
    assert torch.equal(target.logits, expected)
    assert not target.logits.requires_grad


# A training that is killed


KILLED = """
import os, signal, sys
import torch
from gearshift.__main__ import main
from gearshift.trainer.learning import loop

def save_and_die(*given, save=loop.save_state):
    save(*given)
    os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
loop.save_state = save_and_die
main(sys.argv[1:])
"""


def test_a_training_that_is_killed_goes_on_to_the_same_weights(
    checkpoint_path: Path, tmp_path: Path, command: Command
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for split, rows in DATA.splits.items():
        lines = "".join(f"{row.text}\t{row.label}\n" for row in rows)
        (folder / f"{split}.tsv").write_text(f"sentence\tlabel\n{lines}")
    few = ["--depth-epochs", 1, "--augment", 0, "--widths", "1,.5", "--depths", "1,.5", "--importance-rows", 16]
    flags = ["--max-length", 16, "--batch-size", 8, "--teacher-epochs", 2, "--width-epochs", 1, *few]
    call = ["train", "--data", folder, "--model", checkpoint_path, *flags, "--save-every-s", 0, "-o"]
    assert command(*call, tmp_path / "whole").code == 0
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, call), tmp_path / "run"], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "run.partial" / STATE).is_file() and not (tmp_path / "run").exists()
    assert command(*call, tmp_path / "run").code == 0
    whole, again = (load_supernet(tmp_path / name).checkpoint.model.state_dict() for name in ("whole", "run"))
    assert all(torch.equal(whole[name], again[name]) for name in whole)
