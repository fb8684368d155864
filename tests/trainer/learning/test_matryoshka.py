"""Losses of Matryoshka embeddings, by numpy's reckoning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gearshift.trainer.learning.losses import vector_distillation
from gearshift.trainer.learning.matryoshka import cosines, cut_distillation, similarity_loss
from tests.trainer.tiny import random_batch

ROWS, WIDTH = 5, 8


@pytest.fixture
def vectors() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(ROWS, WIDTH), torch.randn(ROWS, WIDTH)


def test_similarities_of_cut_vectors_are_compared_with_those_of_the_whole(
    vectors: tuple[torch.Tensor, torch.Tensor],
) -> None:
    student, reference = vectors
    batch = random_batch([3] * ROWS)
    wanted = 0.0
    for width in (2, 4, WIDTH):
        for row in range(ROWS):
            for other in range(ROWS):
                one, two = student[row, :width].numpy(), student[other, :width].numpy()
                mine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
                whole, its = reference[row].numpy(), reference[other].numpy()
                theirs = whole @ its / np.linalg.norm(whole) / np.linalg.norm(its)
                wanted += (mine - theirs) ** 2 / (ROWS - 1) / ROWS / 3
    assert float(similarity_loss(student, reference, batch, (2, 4))) == pytest.approx(float(wanted), rel=1e-4)


def test_another_basis_and_length_of_the_same_similarities_costs_nothing(
    vectors: tuple[torch.Tensor, torch.Tensor],
) -> None:
    student, _ = vectors
    turned = student @ torch.linalg.qr(torch.randn(WIDTH, WIDTH)).Q * 3
    batch = random_batch([3] * ROWS)
    assert float(similarity_loss(turned, student, batch, ())) == pytest.approx(0, abs=1e-6)
    assert float(similarity_loss(turned, student, batch, (2,))) > 0.01


def test_a_single_text_has_nothing_to_be_compared_with() -> None:
    one = torch.randn(1, WIDTH)
    assert float(similarity_loss(one, torch.randn(1, WIDTH), random_batch([3]), (2,))) == pytest.approx(0, abs=1e-6)
    assert float(cosines(one)) == pytest.approx(1)


def test_distillation_is_the_mean_over_all_cuts(vectors: tuple[torch.Tensor, torch.Tensor]) -> None:
    student, teacher = vectors
    batch = random_batch([3] * ROWS)
    each = [float(vector_distillation(student[:, :width], teacher[:, :width], batch)) for width in (3, WIDTH)]
    assert float(cut_distillation(student, teacher, batch, (3,))) == pytest.approx(sum(each) / 2)
    assert float(cut_distillation(student, teacher, batch, ())) == pytest.approx(each[1])
    assert float(cut_distillation(teacher, teacher, batch, (3,))) == 0


def test_the_loss_moves_similarities_into_the_first_numbers() -> None:
    """The first four of a linear map's 16 numbers come to hold what 16 equal ones held."""
    torch.manual_seed(0)
    count = 64
    reference = torch.randn(count, 4) @ torch.randn(4, 16)  # of rank 4, in no basis of its own
    weight = torch.eye(16, requires_grad=True)
    batch = random_batch([3] * count)
    wanted, optimizer = cosines(reference), torch.optim.Adam([weight], lr=0.03)

    @torch.no_grad()
    def lost(width: int) -> float:
        return float((cosines((reference @ weight)[:, :width]) - wanted).square().mean())

    before = lost(4)
    for _ in range(200):
        optimizer.zero_grad()
        similarity_loss(reference @ weight, reference, batch, (4,)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert lost(4) < before / 10
    assert lost(16) < before / 10
