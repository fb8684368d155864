"""Losses: of the full net on labels, and of a subnet on its teacher's answers.

Every loss is a sum over the batch, divided by the batch's counts: a mean for a whole batch, and for its parts numbers
that add up to that mean. All are computed in fp32, whatever the precision of the answers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.data.targets import IGNORED
from gearshift.trainer.model.elastic import Output


def soft_cross_entropy(student: Tensor, teacher: Tensor, count: float | None = None) -> Tensor:
    """Return the mean cross-entropy of the student's answers under the teacher's: -sum softmax(t) log_softmax(s).

    Both are (..., labels). The sum is divided by `count`, unless given the number of answers. DynaBERT, section 2.2,
    temperature 1.
    """
    each = -(F.softmax(teacher.float(), -1) * F.log_softmax(student.float(), -1)).sum(-1)
    return each.sum() / (max(1, each.numel()) if count is None else count)


def hidden_loss(student: Output, teacher: Output, subnet: Subnet, batch: Batch) -> Tensor:
    """Return the mean squared error of embeddings and layer outputs, summed over layers, over real tokens only.

    The output of layer i is compared with that of the teacher's layer i, but the last kept layer with the teacher's
    last (DynaBERT, section 2.2). The teacher has all layers.
    """
    layers = [kept.layer for kept in subnet.kept()]
    layers[-1] = len(teacher.hidden) - 2  # hidden[0] is the embeddings
    targets = [teacher.hidden[0], *(teacher.hidden[layer + 1] for layer in layers)]
    real = batch.attention_mask[:, :, None].float()
    total = student.hidden[0].new_zeros((), dtype=torch.float32)
    for mine, target in zip(student.hidden, targets, strict=True):
        total = total + ((mine.float() - target.float()) * real).square().sum()
    return total / (batch.counts.tokens * teacher.hidden[0].shape[-1])


# Losses on labels, from the model's output for a batch


def label_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the mean cross entropy; logits (batch, labels)."""
    return F.cross_entropy(logits.float(), batch.labels, reduction="sum") / batch.counts.rows


def labels_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the mean binary cross entropy of every label on its own; logits and labels (batch, labels)."""
    each = F.binary_cross_entropy_with_logits(logits.float(), batch.labels, reduction="sum")
    return each / (batch.counts.rows * logits.shape[1])


def image_loss(images: Tensor, batch: Batch) -> Tensor:
    """Return the mean absolute error of each number of an image; images and labels (batch, 3, height, width)."""
    return F.l1_loss(images.float(), batch.labels, reduction="sum") / (batch.counts.rows * images[0].numel())


def image_distillation(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return the mean absolute difference of each number of the images of a subnet and the teacher."""
    each = F.l1_loss(student.float(), teacher.float(), reduction="sum")
    return each / (batch.counts.rows * student[0].numel())


def number_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the mean squared error; logits (batch, 1)."""
    return F.mse_loss(logits[:, 0].float(), batch.labels, reduction="sum") / batch.counts.rows


def token_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the mean cross entropy over the tokens that have a label; logits (batch, tokens, labels)."""
    return _mean_cross_entropy(logits.transpose(1, 2), batch)


def span_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the mean cross entropy of the first and of the last token over the real tokens; logits (batch, tokens,
    2)."""
    return _mean_cross_entropy(_real_only(logits, batch.attention_mask), batch)


def direction_loss(vectors: Tensor, batch: Batch) -> Tensor:
    """Return the mean product of vectors (batch, width) with random signs, the same for the same rows.

    It is not to be minimised: its gradient measures how far the vectors move with a head or a neuron. Along a random
    direction a gradient's expected square is the sum of the squares over all directions (Hutchinson's estimator).
    """
    source = torch.Generator().manual_seed(int(batch.indices[0]))
    signs = torch.randint(0, 2, vectors.shape, generator=source).to(vectors) * 2 - 1
    return (vectors * signs).sum() / batch.counts.rows


def _mean_cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """Return the mean over all labels that are not IGNORED; 0 if all are. Logits (batch, classes, n), labels (batch,
    n)."""
    total = F.cross_entropy(logits.float(), batch.labels, ignore_index=IGNORED, reduction="sum")
    return total / batch.counts.labels


# Losses on the teacher's answers


def label_distillation(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return the soft cross entropy; both (batch, labels)."""
    return soft_cross_entropy(student, teacher, batch.counts.rows)


def labels_distillation(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return the binary cross entropy under the teacher's probabilities; both (batch, labels)."""
    each = F.binary_cross_entropy_with_logits(student.float(), teacher.float().sigmoid(), reduction="sum")
    return each / (batch.counts.rows * student.shape[1])


def number_distillation(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return the mean squared error; both (batch, 1)."""
    return F.mse_loss(student.float(), teacher.float(), reduction="sum") / batch.counts.rows


def token_distillation(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return the soft cross entropy over the real tokens; both (batch, tokens, labels)."""
    real = batch.attention_mask.bool()
    return soft_cross_entropy(student[real], teacher[real], batch.counts.tokens)


def span_distillation(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return the soft cross entropy of the first and of the last token over the real tokens; both (batch, tokens,
    2)."""
    mine, theirs = (_real_only(logits, batch.attention_mask).transpose(1, 2) for logits in (student, teacher))
    return soft_cross_entropy(mine, theirs, 2 * batch.counts.rows)  # first and last token of each row


def vector_distillation(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return the mean squared distance as a share of the teacher's squared length, halved; both (batch, width).

    For vectors of length 1 it is 1 - cosine. For others, whose length a dot product takes, it asks for the length too.
    """
    wanted = teacher.float()
    distances, lengths = ((student.float() - wanted).square().sum(-1), wanted.square().sum(-1))
    return (distances / (2 * lengths.clamp(min=1e-12))).sum() / batch.counts.rows


def _real_only(logits: Tensor, attention_mask: Tensor) -> Tensor:
    """Return logits (batch, tokens, n) that give padding no probability; not by -inf, since 0 times -inf is no
    number."""
    logits = logits.float()
    return logits.masked_fill(attention_mask[:, :, None] == 0, torch.finfo(logits.dtype).min)
