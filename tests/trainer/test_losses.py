"""The two losses of distillation, with numbers that were worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from gearshift.runtime.space import Subnet
from gearshift.trainer.losses import hidden_loss, soft_cross_entropy
from gearshift.trainer.model import Output

LOGITS = torch.zeros(2, 3)
MASK = torch.tensor([[1, 1, 1], [1, 0, 0]])
FOUR_LAYERS = Subnet(((1, 1),) * 4)


def states(*values: float) -> tuple[Tensor, ...]:
    """One hidden state (2, 3, 5) for each value, filled with it."""
    return tuple(torch.full((2, 3, 5), float(value)) for value in values)


def test_soft_cross_entropy_of_two_rows_worked_out_by_hand() -> None:
    teacher = torch.log(torch.tensor([[0.5, 0.5], [0.25, 0.75]]))
    student = torch.log(torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
    assert soft_cross_entropy(student, teacher).item() == pytest.approx(math.log(2))
    student = torch.log(torch.tensor([[0.9, 0.1], [0.25, 0.75]]))
    first = -(0.5 * math.log(0.9) + 0.5 * math.log(0.1))
    second = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert soft_cross_entropy(student, teacher).item() == pytest.approx((first + second) / 2)


def test_soft_cross_entropy_does_not_depend_on_a_constant_added_to_the_logits() -> None:
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    plain = soft_cross_entropy(student, teacher)
    assert soft_cross_entropy(student + 7, teacher - 5).item() == pytest.approx(plain.item(), rel=1e-5)


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn() -> None:
    teacher = torch.randn(4, 3)
    student = teacher.clone().requires_grad_()
    soft_cross_entropy(student, teacher).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-7
    other = (teacher + torch.randn(4, 3)).requires_grad_()
    soft_cross_entropy(other, teacher).backward()  # type: ignore[no-untyped-call]
    assert other.grad is not None
    assert other.grad.abs().max() > 1e-3


def test_the_hidden_loss_adds_up_the_layers_and_averages_over_values() -> None:
    student = Output(LOGITS, states(0, 1, 2, 3, 4))
    teacher = Output(LOGITS, states(1, 1, 0, 3, 7))
    assert hidden_loss(student, teacher, FOUR_LAYERS, MASK).item() == pytest.approx(1 + 0 + 4 + 0 + 9)


def test_the_hidden_loss_of_the_full_net_against_itself_is_zero() -> None:
    hidden = tuple(torch.randn(2, 3, 5) for _ in range(5))
    assert hidden_loss(Output(LOGITS, hidden), Output(LOGITS, hidden), FOUR_LAYERS, MASK).item() == 0


def test_the_hidden_loss_pays_no_heed_to_padding() -> None:
    teacher = Output(LOGITS, tuple(torch.randn(2, 3, 5) for _ in range(5)))
    hidden = tuple(torch.randn(2, 3, 5) for _ in range(5))
    plain = hidden_loss(Output(LOGITS, hidden), teacher, FOUR_LAYERS, MASK)
    for state in hidden:
        state[1, 1:] = 1e6
    assert torch.equal(hidden_loss(Output(LOGITS, hidden), teacher, FOUR_LAYERS, MASK), plain)
    hidden[2][1, 0] += 1
    assert not torch.equal(hidden_loss(Output(LOGITS, hidden), teacher, FOUR_LAYERS, MASK), plain)


@pytest.mark.parametrize(
    ("kept", "targets"),
    [
        # Teacher: 10 is its embeddings, 11 to 14 the outputs of its layers 0 to 3.
        ((0, 1, 2, 3), (10, 11, 12, 13, 14)),
        ((0, 1, 2), (10, 11, 12, 14)),  # depth .75
        ((0, 2), (10, 11, 14)),  # depth .5
        ((1, 3), (10, 12, 14)),
        ((2,), (10, 14)),
    ],
    ids=str,
)
def test_a_kept_layer_learns_from_its_own_and_the_last_from_the_last(
    kept: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    subnet = Subnet(tuple((1, 1) if layer in kept else (0, 0) for layer in range(4)))
    teacher = Output(LOGITS, states(10, 11, 12, 13, 14))
    assert hidden_loss(Output(LOGITS, states(*targets)), teacher, subnet, MASK).item() == 0
    for place in range(len(targets)):
        off = [value + (index == place) for index, value in enumerate(targets)]
        assert hidden_loss(Output(LOGITS, states(*off)), teacher, subnet, MASK).item() == pytest.approx(1)
