"""What the full net learns from labels, and a subnet from its teacher.

Every loss is a sum over the batch, divided by the batch's counts: a mean for a whole batch, and for parts of one
numbers that add up to that mean. All are computed in fp32, whatever the answers come in.
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
    """Mean cross-entropy of the student's answers under the teacher's: -sum softmax(t) log_softmax(s).

    Both (..., labels). The sum is divided by `count`, which is that of the answers unless given. DynaBERT,
    section 2.2, temperature 1.
    """
    each = -(F.softmax(teacher.float(), -1) * F.log_softmax(student.float(), -1)).sum(-1)
    return each.sum() / (max(1, each.numel()) if count is None else count)


def hidden_loss(student: Output, teacher: Output, subnet: Subnet, batch: Batch) -> Tensor:
    """Mean squared error of embeddings and layer outputs, summed over layers, over real tokens only.

    The output of layer i is compared with that of the teacher's layer i, but the last kept layer with
    the teacher's last (DynaBERT, section 2.2). The teacher has all layers.
    """
    layers = [kept.layer for kept in subnet.kept()]
    layers[-1] = len(teacher.hidden) - 2  # hidden[0] is the embeddings
    targets = [teacher.hidden[0], *(teacher.hidden[layer + 1] for layer in layers)]
    real = batch.attention_mask[:, :, None].float()
    total = student.logits.new_zeros((), dtype=torch.float32)
    for mine, target in zip(student.hidden, targets, strict=True):
        total = total + ((mine.float() - target.float()) * real).square().sum()
    return total / (batch.counts.tokens * teacher.hidden[0].shape[-1])


# On labels: what the model gives, and the batch that it was given for


def label_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross entropy; logits (batch, labels)."""
    return F.cross_entropy(logits.float(), batch.labels, reduction="sum") / batch.counts.rows


def labels_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean binary cross entropy of every label on its own; logits and labels (batch, labels)."""
    each = F.binary_cross_entropy_with_logits(logits.float(), batch.labels, reduction="sum")
    return each / (batch.counts.rows * logits.shape[1])


def number_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean squared error; logits (batch, 1)."""
    return F.mse_loss(logits[:, 0].float(), batch.labels, reduction="sum") / batch.counts.rows


def token_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross entropy over the tokens that have a label; logits (batch, tokens, labels)."""
    return _mean_cross_entropy(logits.transpose(1, 2), batch)


def span_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross entropy of the first and of the last token over the real tokens; logits (batch, tokens, 2)."""
    return _mean_cross_entropy(_real_only(logits, batch.attention_mask), batch)


def direction_loss(vectors: Tensor, batch: Batch) -> Tensor:
    """The mean product of vectors (batch, hidden) with random signs, the same for the same rows.

    Nothing to minimise: its gradient says how far the vectors move with a head or a neuron. Along a random
    direction a gradient's expected square is the sum of the squares over all directions (Hutchinson's estimator).
    """
    source = torch.Generator().manual_seed(int(batch.indices[0]))
    signs = torch.randint(0, 2, vectors.shape, generator=source).to(vectors) * 2 - 1
    return (vectors * signs).sum() / batch.counts.rows


def _mean_cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """Over all labels that are not IGNORED; 0 where all are. Logits (batch, classes, n), labels (batch, n)."""
    total = F.cross_entropy(logits.float(), batch.labels, ignore_index=IGNORED, reduction="sum")
    return total / batch.counts.labels


# On the teacher's answers


def label_distillation(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Soft cross entropy; both (batch, labels)."""
    return soft_cross_entropy(student, teacher, batch.counts.rows)


def labels_distillation(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Binary cross entropy under the teacher's probabilities; both (batch, labels)."""
    each = F.binary_cross_entropy_with_logits(student.float(), teacher.float().sigmoid(), reduction="sum")
    return each / (batch.counts.rows * student.shape[1])


def number_distillation(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Mean squared error; both (batch, 1)."""
    return F.mse_loss(student.float(), teacher.float(), reduction="sum") / batch.counts.rows


def token_distillation(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Soft cross entropy over the real tokens; both (batch, tokens, labels)."""
    real = batch.attention_mask.bool()
    return soft_cross_entropy(student[real], teacher[real], batch.counts.tokens)


def span_distillation(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Soft cross entropy of the first and of the last token over the real tokens; both (batch, tokens, 2)."""
    mine, theirs = (_real_only(logits, batch.attention_mask).transpose(1, 2) for logits in (student, teacher))
    return soft_cross_entropy(mine, theirs, 2 * batch.counts.rows)  # a first and a last token of each row


def vector_distillation(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Mean of 1 - cosine; both (batch, hidden), of length 1."""
    return (1 - (student.float() * teacher.float()).sum(-1)).sum() / batch.counts.rows


def _real_only(logits: Tensor, attention_mask: Tensor) -> Tensor:
    """Logits (batch, tokens, n) that give padding no probability. Not -inf, which times 0 is no number."""
    logits = logits.float()
    return logits.masked_fill(attention_mask[:, :, None] == 0, torch.finfo(logits.dtype).min)
