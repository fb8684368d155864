"""The teacher's states and answers on disk: what they are, and what is computed once only."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from gearshift.errors import ModelError, StorageError
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.heads import encode_heads
from gearshift.trainer.learning import teacher_states as states_module
from gearshift.trainer.learning.distillation import Teacher, distill_loss
from gearshift.trainer.learning.teacher_states import Wanted, teacher_states
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.elastic import ElasticClassifier, Head
from tests.trainer.heads import make_heads_data
from tests.trainer.tiny import SHAPE, encoded_rows, random_model, write_checkpoint

ROWS = encoded_rows(150)
TASKS = ("classification", "regression", "token-classification", "question-answering", "embedding")
ALL = Wanted(tuple(range(1, SHAPE.layers + 1)), answers=True)


def model_of(task: str) -> ElasticClassifier:
    torch.manual_seed(0)
    return ElasticClassifier(SHAPE, {"regression": 1, "question-answering": 2}.get(task, 3), head=Head(task)).eval()


def test_states_are_the_teachers_at_half_precision_and_zeros_for_padding(tmp_path: Path) -> None:
    teacher = random_model()
    found = teacher_states(teacher, ROWS, Wanted((0, 2, 4)), tmp_path, "x")
    for batch in ROWS.batches(7, seed=1):
        with torch.no_grad():
            hidden = teacher(batch, teacher.full).hidden
        real = batch.attention_mask.bool()
        for boundary, layer in enumerate((0, 2, 4)):
            mine = found.of(boundary, batch)
            assert torch.allclose(mine[real], hidden[layer][real], atol=5e-3)
            assert not mine[~real].any()


def test_states_are_computed_once_and_an_interruption_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states_module, "_SAVED_BATCHES", 1)
    teacher = random_model()
    calls: list[int] = []
    forward = teacher.forward

    def counted(*given: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return forward(*given)  # type: ignore[arg-type]

    teacher.forward = counted  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt):
        teacher_states(teacher, ROWS, Wanted((0, 4)), tmp_path, "x")
    found = teacher_states(teacher, ROWS, Wanted((0, 4)), tmp_path, "x")
    assert len(calls) == 2 + 2  # 150 rows are three batches; the first was done
    again = teacher_states(teacher, ROWS, Wanted((0, 4)), tmp_path, "x")
    assert len(calls) == 4
    batch = ROWS.select([3, 149, 0])
    assert torch.equal(found.of(1, batch), again.of(1, batch)) and found.of(1, batch).any(-1).sum() > 3
    teacher_states(teacher, ROWS, Wanted((0, 4)), tmp_path, "another text")
    assert len(calls) == 7


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="free some, take fewer tokens"):
        teacher_states(random_model(), ROWS, Wanted((0, 4)), tmp_path / "states", "x")
    assert not list((tmp_path / "states").glob("*.f16"))


def test_states_that_float16_cannot_represent_are_refused(tmp_path: Path) -> None:
    teacher = random_model()
    with torch.no_grad():
        dict(teacher.named_parameters())["layers.1.ffn_norm.bias"][3] = 7e4
    with pytest.raises(ModelError, match="states after layer 2 are beyond the range of float16"):
        teacher_states(teacher, ROWS, Wanted((0, 2, 4)), tmp_path, "x")


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_the_teachers(task: str, tmp_path: Path) -> None:
    teacher = model_of(task)
    found = teacher_states(teacher, ROWS, Wanted((), answers=True), tmp_path, "x")
    for batch in ROWS.batches(7, seed=1):
        with torch.no_grad():
            expected = teacher(batch, teacher.full).logits
        mine = found.answers(batch, task)
        assert mine.shape == expected.shape
        if mine.ndim == 3:
            real = batch.attention_mask.bool()
            assert not mine[~real].any()
            mine, expected = mine[real], expected[real]
        assert torch.allclose(mine, expected, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_a_kept_teacher_gives_the_losses_of_one_that_runs_and_runs_no_more(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows come in other batches than those of the kept passes, with other padding."""
    student, teacher = model_of(task), Teacher(model_of(task))
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    kept = Teacher(teacher.model)
    kept.kept = teacher_states(kept.model, ROWS, ALL, tmp_path, "x", batch_rows=32)
    assert (tmp_path / "answers.f32").stat().st_size + sum(
        path.stat().st_size for path in tmp_path.glob("*.f16")
    ) == ALL.bytes(teacher.model, ROWS)
    batches = list(ROWS.batches(16, seed=2))
    expected = [teacher.teach(batch) for batch in batches]
    for batch, targets in zip(batches, expected, strict=True):
        targets.of(teacher.model.full)
        with monkeypatch.context() as patched:
            patched.setattr(kept.model, "forward", None)
            again = kept.teach(batch)
            again.of(teacher.model.full)
        for subnet in uniform_grid(SHAPE).values():
            output = student(batch, subnet)
            losses = [distill_loss(output, each.of(subnet), batch, subnet, task=task) for each in (targets, again)]
            assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-3)
            assert losses[0].item() > 1e-3


def test_states_of_other_rows_at_once_or_of_other_files_are_computed_anew(tmp_path: Path) -> None:
    teacher = random_model()
    found = teacher_states(teacher, ROWS, Wanted((4,)), tmp_path, "x")
    before = (tmp_path / "states.json").read_bytes()
    teacher_states(teacher, ROWS, Wanted((4,)), tmp_path, "x", batch_rows=32)
    assert (tmp_path / "states.json").read_bytes() != before
    batch = ROWS.select([3, 149, 0])
    both = teacher_states(teacher, ROWS, Wanted((4,), answers=True), tmp_path, "x")
    assert torch.allclose(both.of(0, batch), found.of(0, batch), atol=5e-3)
    assert both.answers(batch, "classification").any()


def test_answers_of_several_heads_are_kept_each_by_itself(tmp_path: Path) -> None:
    data = make_heads_data(tmp_path / "data")
    checkpoint = load_checkpoint(write_checkpoint(tmp_path / "model"), task="multi-task", heads=data.heads)
    rows = encode_heads(data.splits["train"], data.heads, checkpoint.tokenizer, max_length=16)
    teacher, wanted = checkpoint.model.eval(), Wanted((1,), answers=True)
    found = teacher_states(teacher, rows, wanted, tmp_path / "states", "x")
    files = {path.name: path.stat().st_size for path in (tmp_path / "states").glob("*.f*")}
    assert files.keys() == {"after-1.f16", "answers.intent.f32", "answers.slots.f32"}
    assert sum(files.values()) == wanted.bytes(teacher, rows)
    for batch in rows.batches(7, seed=1):
        with torch.no_grad():
            label, tags = teacher(batch, teacher.full).logits
        mine, of_tokens = found.answers(batch, "multi-task")
        real = batch.attention_mask.bool()
        assert torch.allclose(mine, label, atol=1e-5)
        assert torch.allclose(of_tokens[real], tags[real], atol=1e-5) and not of_tokens[~real].any()
