"""Matryoshka embeddings: vectors whose first numbers are an embedding too (Kusupati and others 2022).

The loss is on similarities, not on the vectors: which numbers come first is a matter of the basis, and the model that
was brought has none that favours its first ones. Its similarities within a batch are what each cut vector is to keep
(Tung and Mori 2019, Similarity-Preserving Knowledge Distillation).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from gearshift.trainer.data.batches import Batch
from gearshift.trainer.learning.losses import vector_distillation


def similarity_loss(vectors: Tensor, reference: Tensor, batch: Batch, dims: Sequence[int]) -> Tensor:
    """Return the squared distance of the cosines of vectors (batch, width), whole and cut to each of `dims`, from those
    of `reference`: mean over the other texts and over the cuts, summed over rows, divided by the rows of the batch.

    Of a micro-batch only the texts in it are compared.
    """
    wanted, count = cosines(reference.float()), max(1, len(vectors) - 1)
    cuts = (*dims, vectors.shape[-1])
    distances = [(cosines(vectors[:, :width].float()) - wanted).square().sum() / count for width in cuts]
    return sum(distances[1:], start=distances[0]) / (len(cuts) * batch.counts.rows)


def cut_distillation(student: Tensor, teacher: Tensor, batch: Batch, dims: Sequence[int]) -> Tensor:
    """Return `vector_distillation` of vectors (batch, width), the mean over the whole ones and those cut to each of
    `dims`."""
    cuts = (*dims, student.shape[-1])
    found = [vector_distillation(student[:, :width], teacher[:, :width], batch) for width in cuts]
    return sum(found[1:], start=found[0]) / len(cuts)


def cosines(vectors: Tensor) -> Tensor:
    """Return the cosine of each vector (batch, width) with each: (batch, batch)."""
    unit = F.normalize(vectors, dim=-1)
    return unit @ unit.T
