"""The DAN during training: a sparsely updated table, and dense layers.

A step touches only the rows of its n-grams, each with one number of optimizer state (`RowwiseAdagrad`), so that a table
of a hundred million numbers trains on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from gearshift.runtime.dan.index import build_index
from gearshift.runtime.dan.model import Dense
from gearshift.runtime.dan.ngrams import Keys, keys


class RowwiseAdagrad:
    """Adagrad with one number of state per row of a table with sparse gradients: the sum of its mean squared
    gradients."""

    def __init__(self, table: Tensor, lr: float) -> None:
        self.table, self.lr = table, lr
        self.state = torch.zeros(len(table), device=table.device)

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Update the rows that have a gradient, at `factor` of the learning rate, and clear the gradient."""
        assert self.table.grad is not None
        gradient = self.table.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        self.state[rows] += values.pow(2).mean(1)
        self.table.index_add_(0, rows, values / (self.state[rows].sqrt() + 1e-10)[:, None], alpha=-self.lr * factor)
        self.table.grad = None


class DanStudent(nn.Module):
    """Trainable DAN: bags of n-gram rows in, logits out."""

    def __init__(
        self,
        ngrams: int,
        labels: int,
        *,
        width: int,
        hidden: int,
        dropout: float,
        ngram_dropout: float = 0,
        paired: bool,
    ) -> None:
        super().__init__()
        self.paired = paired
        self.table = nn.EmbeddingBag(ngrams, width, mode="mean", sparse=True)
        nn.init.normal_(self.table.weight, std=0.1)
        self.dropout = nn.Dropout(dropout)
        self.ngram_dropout = ngram_dropout
        self.hidden = nn.Linear(width * (4 if paired else 1), hidden)
        self.output = nn.Linear(hidden, labels)

    def forward(self, bags: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Return logits (texts, labels) of one (ids, offsets), or of two for pairs, on the table's device."""
        device = self.table.weight.device
        if self.training and self.ngram_dropout:
            bags = [left_out(*bag, self.ngram_dropout) for bag in bags]
        means = [self.table(ids.to(device), offsets.to(device)) for ids, offsets in bags]
        if self.paired:
            first, second = means
            means = [first, second, first * second, (first - second).abs()]
        hidden = torch.relu(self.hidden(self.dropout(torch.cat(means, 1))))
        logits: Tensor = self.output(self.dropout(hidden))
        return logits

    def layers(self) -> list[nn.Parameter]:
        """Return all parameters except the table."""
        return [*self.hidden.parameters(), *self.output.parameters()]

    def dense(self) -> Dense:
        """Return the layers in the form of the runtime."""
        parts = (self.hidden.weight, self.hidden.bias, self.output.weight, self.output.bias)
        return Dense(*(part.detach().cpu().numpy().copy() for part in parts))


def left_out(ids: Tensor, offsets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return (ids, offsets) without a random share of the ids."""
    kept = torch.rand(len(ids)) >= share
    before = F.pad(kept.cumsum(0), (1, 0))  # number of kept ids before each id
    return ids[kept], before[offsets]


class NgramVocabulary:
    """N-grams of a table; row 0 belongs to the most frequent one."""

    def __init__(self, ngrams: Keys, longest: int) -> None:
        self.ngrams, self.longest = ngrams, longest
        self._index, row_of = build_index(ngrams)
        self._ranks = np.zeros(len(self._index.prints), np.int32)
        self._ranks[row_of] = np.arange(len(ngrams))

    def bags(self, texts: Sequence[str]) -> Bags:
        """Return the rows of each text, with repetitions."""
        shown = tqdm(texts, desc="n-grams", unit="text", disable=None)
        return Bags([self._ranks[self._index.rows(keys(text, self.longest))] for text in shown])


class Bags:
    """N-gram rows of many texts, in one flat array."""

    def __init__(self, texts: Sequence[NDArray[np.int32]]) -> None:
        self.starts = np.concatenate([[0], np.cumsum([len(rows) for rows in texts])])
        self.ids = np.concatenate(texts) if texts else np.empty(0, np.int32)

    def select(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return (ids, offsets) of these texts, as EmbeddingBag expects them."""
        parts = [self.ids[self.starts[row] : self.starts[row + 1]] for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])[:-1]])
        return torch.from_numpy(np.concatenate(parts).astype(np.int64)), torch.from_numpy(offsets.astype(np.int64))
