"""How a DAN is trained: every number that a training can be told, and the memory that it takes."""

from __future__ import annotations

from dataclasses import dataclass

from gearshift.errors import InputError
from gearshift.runtime.dan.ngrams import LONGEST
from gearshift.trainer.dan.ngram_table import BYTES_EACH, MOST_DISTINCT

MOST_PARAMETERS = 1_000_000_000


CHARACTERS_PER_WORD = 5


BASE_BYTES = 500_000_000
"""The process with torch and transformers."""


@dataclass(frozen=True)
class DanSettings:
    """How a DAN is trained; the defaults fit some ten thousand texts on two CPU cores."""

    table_parameters: int = 20_000_000
    """Most numbers of the table: n-grams x width."""
    width: int = 256
    """Length of an embedding. The paper prefers a wide table over one of many n-grams."""
    hidden: int = 64
    """Neurons of the hidden layer. Of single texts the device stores so many numbers for an n-gram (`runtime.dan`)."""
    longest: int = LONGEST
    epochs: float = 10
    """Epochs of distillation over labelled and unlabelled texts."""
    finetune_epochs: float = 0
    unlabelled_only: bool = False
    """Learn from the unlabelled texts alone: neither words nor labels of the training rows are used."""
    batch_size: int = 64
    table_lr: float = 0.05
    lr: float = 1e-3
    """Learning rate of the layers."""
    dropout: float = 0.1
    ngram_dropout: float = 0
    """Share of the n-grams of a text that a step leaves out (the word dropout of Iyyer et al., 2015): against learning
    a small set by heart, most of all where its texts are short."""
    max_length: int | None = None
    """Tokens that the teacher reads of a text, by default as many as it was trained on; the DAN reads all of it."""
    save_every_s: float = 60
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.width <= self.table_parameters <= MOST_PARAMETERS:
            raise InputError(
                f"table_parameters: expected {self.width} to {MOST_PARAMETERS}, got {self.table_parameters}"
            )
        if not 1 <= self.longest <= LONGEST:
            raise InputError(f"longest: expected 1 to {LONGEST} words, got {self.longest}")
        if min(self.width, self.hidden, self.batch_size) < 1 or min(self.lr, self.table_lr) <= 0 or self.epochs < 0:
            raise InputError("settings of a DAN: expected sizes and learning rates above 0; check them")
        if not (0 <= self.dropout < 1 and 0 <= self.ngram_dropout < 1):
            raise InputError(
                f"dropout: expected shares from 0 to below 1, got {self.dropout:g}, of n-grams {self.ngram_dropout:g}"
            )
        if self.unlabelled_only and self.finetune_epochs:
            raise InputError("unlabelled_only: expected no finetune_epochs, which learn from labels; leave one out")

    def memory_bytes(self, characters: int) -> int:
        """What training needs at its peak, for texts of so many characters in all.

        The table, and as much again while it is saved, and the row of each n-gram of the texts; or what counting the
        n-grams takes, where that is more.
        """
        ngrams = self.longest * characters // CHARACTERS_PER_WORD
        table = 2 * 4 * self.table_parameters + 8 * (self.table_parameters // self.width)
        counting = BYTES_EACH * min(MOST_DISTINCT, ngrams)
        return BASE_BYTES + characters + max(table + 2 * 4 * ngrams, counting)
