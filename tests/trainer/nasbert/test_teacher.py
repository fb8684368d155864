"""The teacher's states on disk: what they are, and what is computed once only."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from gearshift.errors import ModelError, StorageError
from gearshift.trainer.nasbert import teacher as teacher_module
from gearshift.trainer.nasbert.teacher import boundaries_of, teacher_states
from tests.trainer.tiny import encoded_rows, random_model

ROWS = encoded_rows(150)


@pytest.mark.parametrize(
    ("layers", "block", "expected"), [(6, 2, (0, 2, 4, 6)), (6, 3, (0, 3, 6)), (5, 2, (0, 2, 4, 5)), (4, 9, (0, 4))]
)
def test_blocks_end_after_so_many_layers(layers: int, block: int, expected: tuple[int, ...]) -> None:
    assert boundaries_of(layers, block) == expected


def test_states_are_the_teachers_at_half_precision_and_zeros_for_padding(tmp_path: Path) -> None:
    teacher = random_model()
    found = teacher_states(teacher, ROWS, (0, 2, 4), tmp_path, "x")
    for batch in ROWS.batches(7, seed=1):
        with torch.no_grad():
            hidden = teacher(batch, teacher.full).hidden
        real = batch.attention_mask.bool()
        for boundary, layer in enumerate((0, 2, 4)):
            mine = found.of(boundary, batch)
            assert torch.allclose(mine[real], hidden[layer][real], atol=5e-3)
            assert not mine[~real].any()


def test_states_are_computed_once_and_an_interruption_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_module, "_SAVED_BATCHES", 1)
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
        teacher_states(teacher, ROWS, (0, 4), tmp_path, "x")
    found = teacher_states(teacher, ROWS, (0, 4), tmp_path, "x")
    assert len(calls) == 2 + 2  # 150 rows are three batches; the first was done
    again = teacher_states(teacher, ROWS, (0, 4), tmp_path, "x")
    assert len(calls) == 4
    batch = ROWS.select([3, 149, 0])
    assert torch.equal(found.of(1, batch), again.of(1, batch)) and found.of(1, batch).any(-1).sum() > 3
    teacher_states(teacher, ROWS, (0, 4), tmp_path, "another text")
    assert len(calls) == 7


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="free some, take fewer tokens"):
        teacher_states(random_model(), ROWS, (0, 4), tmp_path / "states", "x")
    assert not list((tmp_path / "states").glob("*.f16"))


def test_states_that_float16_cannot_represent_are_refused(tmp_path: Path) -> None:
    teacher = random_model()
    with torch.no_grad():
        dict(teacher.named_parameters())["layers.1.ffn_norm.bias"][3] = 7e4
    with pytest.raises(ModelError, match="states after layer 2 are beyond the range of float16"):
        teacher_states(teacher, ROWS, (0, 2, 4), tmp_path, "x")
