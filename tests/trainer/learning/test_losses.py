"""The two losses of distillation, with numbers that were worked out by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.learning.losses import (
    direction_loss,
    hidden_loss,
    labels_distillation,
    labels_loss,
    number_distillation,
    number_loss,
    soft_cross_entropy,
    span_distillation,
    span_loss,
    token_distillation,
    token_loss,
    vector_distillation,
)
from gearshift.trainer.model.elastic import Output

LOGITS = torch.zeros(2, 3)
MASK = torch.tensor([[1, 1, 1], [1, 0, 0]])
BATCH = Batch(MASK, MASK, MASK, torch.zeros(2, dtype=torch.int64), torch.arange(2))
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
    assert hidden_loss(student, teacher, FOUR_LAYERS, BATCH).item() == pytest.approx(1 + 0 + 4 + 0 + 9)


def test_the_hidden_loss_of_the_full_net_against_itself_is_zero() -> None:
    hidden = tuple(torch.randn(2, 3, 5) for _ in range(5))
    assert hidden_loss(Output(LOGITS, hidden), Output(LOGITS, hidden), FOUR_LAYERS, BATCH).item() == 0


def test_the_hidden_loss_pays_no_heed_to_padding() -> None:
    teacher = Output(LOGITS, tuple(torch.randn(2, 3, 5) for _ in range(5)))
    hidden = tuple(torch.randn(2, 3, 5) for _ in range(5))
    plain = hidden_loss(Output(LOGITS, hidden), teacher, FOUR_LAYERS, BATCH)
    for state in hidden:
        state[1, 1:] = 1e6
    assert torch.equal(hidden_loss(Output(LOGITS, hidden), teacher, FOUR_LAYERS, BATCH), plain)
    hidden[2][1, 0] += 1
    assert not torch.equal(hidden_loss(Output(LOGITS, hidden), teacher, FOUR_LAYERS, BATCH), plain)


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
    assert hidden_loss(Output(LOGITS, states(*targets)), teacher, subnet, BATCH).item() == 0
    for place in range(len(targets)):
        off = [value + (index == place) for index, value in enumerate(targets)]
        assert hidden_loss(Output(LOGITS, states(*off)), teacher, subnet, BATCH).item() == pytest.approx(1)


# Each task's own: three rows of 4, 2 and 1 tokens, against the formulas in numpy

LENGTHS = (4, 2, 1)


def batch_of(labels: Tensor) -> Batch:
    mask = torch.tensor([[int(token < length) for token in range(4)] for length in LENGTHS])
    return Batch(torch.ones_like(mask), mask, torch.zeros_like(mask), labels, torch.arange(3))


def log_softmax(values: Tensor) -> np.ndarray:
    array = values.numpy().astype(np.float64)
    logs: np.ndarray = array - np.log(np.exp(array).sum(-1, keepdims=True))
    return logs


def test_numbers_are_learnt_by_their_squares() -> None:
    found, labels = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0.0, 2.0, 1.0])
    assert number_loss(found, batch_of(labels)).item() == pytest.approx((1 + 0 + 9) / 3)
    assert number_distillation(found, torch.zeros(3, 1), batch_of(labels)).item() == pytest.approx((1 + 4 + 16) / 3)


def test_several_labels_are_learnt_each_on_its_own() -> None:
    logits, labels = torch.randn(3, 2), torch.tensor([[1.0, 0], [0, 0], [1, 1]])
    shares = 1 / (1 + np.exp(-logits.numpy().astype(np.float64)))
    expected = -np.mean(labels.numpy() * np.log(shares) + (1 - labels.numpy()) * np.log(1 - shares))
    assert labels_loss(logits, batch_of(labels)).item() == pytest.approx(expected, rel=1e-5)
    teacher = torch.where(labels > 0, 40.0, -40.0)  # as sure as labels are
    assert labels_distillation(logits, teacher, batch_of(labels)).item() == pytest.approx(expected, rel=1e-5)


def test_the_token_loss_is_the_mean_over_the_tokens_that_have_a_label() -> None:
    logits = torch.randn(3, 4, 5)
    labels = torch.tensor([[-100, 3, -100, 1], [-100, 0, -100, -100], [-100] * 4])
    places = [(0, 1, 3), (0, 3, 1), (1, 1, 0)]
    expected = -np.mean([log_softmax(logits[row, token])[label] for row, token, label in places])
    assert token_loss(logits, batch_of(labels)).item() == pytest.approx(expected, rel=1e-5)
    assert token_loss(logits, batch_of(torch.full((3, 4), -100))).item() == 0


def test_the_span_loss_is_over_the_real_tokens_of_rows_with_an_answer() -> None:
    logits, labels = torch.randn(3, 4, 2), torch.tensor([[1, 3], [0, 1], [-100, -100]])
    logs = [log_softmax(logits[row, :length].T) for row, length in enumerate(LENGTHS)]  # (2, tokens)
    expected = -np.mean([logs[0][0, 1], logs[0][1, 3], logs[1][0, 0], logs[1][1, 1]])
    assert span_loss(logits, batch_of(labels)).item() == pytest.approx(expected, rel=1e-5)


def test_tokens_and_spans_are_distilled_over_the_real_tokens() -> None:
    student, teacher, batch = torch.randn(3, 4, 2), torch.randn(3, 4, 2), batch_of(torch.zeros(3))
    by_token, by_span = [], []
    for row, length in enumerate(LENGTHS):
        mine, theirs = student[row, :length], teacher[row, :length]
        by_token.extend(-(np.exp(log_softmax(theirs)) * log_softmax(mine)).sum(-1))
        by_span.extend(-(np.exp(log_softmax(theirs.T)) * log_softmax(mine.T)).sum(-1))
    assert token_distillation(student, teacher, batch).item() == pytest.approx(np.mean(by_token), rel=1e-5)
    assert span_distillation(student, teacher, batch).item() == pytest.approx(np.mean(by_span), rel=1e-5)


def test_the_span_losses_have_a_gradient_at_real_tokens_alone() -> None:
    batch = batch_of(torch.tensor([[1, 3], [0, 1], [0, 0]]))
    losses: list[Callable[[Tensor], Tensor]] = [
        lambda logits: span_loss(logits, batch),
        lambda logits: span_distillation(logits, torch.ones(3, 4, 2), batch),
    ]
    for loss in losses:
        logits = torch.randn(3, 4, 2, requires_grad=True)
        loss(logits).backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None and logits.grad.isfinite().all()
        assert (logits.grad[batch.attention_mask == 0] == 0).all()
        assert logits.grad[0].abs().min() > 0


def test_vectors_are_distilled_by_their_angle() -> None:
    one, other = torch.tensor([[1.0, 0], [0, 1], [1, 0]]), torch.tensor([[1.0, 0], [1, 0], [-1, 0]])
    assert vector_distillation(one, other, batch_of(torch.zeros(3))).item() == pytest.approx((0 + 1 + 2) / 3)


def test_the_direction_of_a_batch_is_the_same_each_time_and_of_signs() -> None:
    vectors = torch.zeros(3, 6, requires_grad=True)
    gradients: list[Tensor] = []
    for _ in range(2):
        vectors.grad = None
        direction_loss(vectors, batch_of(torch.zeros(3))).backward()  # type: ignore[no-untyped-call]
        assert vectors.grad is not None
        gradients.append(vectors.grad)
    assert torch.equal(*gradients)
    assert sorted(set((gradients[0] * 3).round().flatten().tolist())) == [-1, 1]
