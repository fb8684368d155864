"""Settings of the training of a DAN, and the memory that it takes."""

from __future__ import annotations

from dataclasses import dataclass

from gearshift.errors import InputError
from gearshift.runtime.dan.ngrams import LONGEST
from gearshift.settings import same_as, setting
from gearshift.trainer.dan.ngram_table import BYTES_EACH, MOST_DISTINCT
from gearshift.trainer.learning.settings import TrainingSettings

MOST_PARAMETERS = 1_000_000_000
CHARACTERS_PER_WORD = 5
BASE_BYTES = 500_000_000
"""Memory of the process with torch and transformers, in bytes."""


@dataclass(frozen=True, kw_only=True)
class DanSettings(TrainingSettings):
    """Settings of the distillation; the defaults suit some ten thousand texts on two CPU cores."""

    table_parameters: int = setting(
        20_000_000, f"most parameters of the table, n-grams x width; up to {MOST_PARAMETERS}", unit="NUMBERS"
    )
    # The paper prefers a wide table to one of many n-grams.
    width: int = setting(256, "length of an embedding", unit="NUMBERS")
    # For single texts the device stores this many numbers per n-gram (`runtime.dan`).
    hidden: int = setting(64, "neurons of the hidden layer", unit="NEURONS")
    longest: int = setting(LONGEST, f"words of the longest n-gram, 1 to {LONGEST}", unit="WORDS")
    epochs: float = setting(10, "epochs of distillation over labelled and unlabelled texts", unit="EPOCHS")
    finetune_epochs: float = setting(0, "epochs on the labels afterwards", unit="EPOCHS")
    unlabelled_only: bool = setting(
        False, "learn from the unlabelled texts alone: neither words nor labels of the training rows are used"
    )
    batch_size: int = same_as(TrainingSettings, "batch_size", 64, "texts of a training step")
    table_lr: float = setting(0.05, "learning rate of the table")
    lr: float = setting(1e-3, "learning rate of the layers")
    dropout: float = setting(0.1, "share of dropped features", unit="SHARE")
    ngram_dropout: float = setting(
        0,
        "share of the n-grams of a text that a step leaves out (word dropout of Iyyer et al., 2015), against learning "
        "a small set of short texts by heart",
        unit="SHARE",
    )
    max_length: int | None = setting(
        None,
        "tokens that the teacher reads of a text; the DAN reads all of it",
        unit="TOKENS",
        unset="as many as it was trained on, or as its bundle states",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.width <= self.table_parameters <= MOST_PARAMETERS:
            raise InputError(
                f"table_parameters: expected {self.width} to {MOST_PARAMETERS}, got {self.table_parameters}"
            )
        if not 1 <= self.longest <= LONGEST:
            raise InputError(f"longest: expected 1 to {LONGEST} words, got {self.longest}")
        for name in ("lr", "table_lr"):
            if getattr(self, name) == 0:
                raise InputError(f"settings: {name}: expected a number above 0, got 0")
        if not (0 <= self.dropout < 1 and 0 <= self.ngram_dropout < 1):
            raise InputError(
                f"dropout: expected shares from 0 to below 1, got {self.dropout:g}, of n-grams {self.ngram_dropout:g}"
            )
        if self.unlabelled_only and self.finetune_epochs:
            raise InputError("unlabelled_only: expected no finetune_epochs, which learn from labels; leave one out")

    def memory_bytes(self, characters: int) -> int:
        """Estimate the peak memory in bytes of training on texts with this many characters in total.

        It is the table, the same size again while it is saved, and the row of each n-gram of the texts; or the memory
        for counting the n-grams, if that is more.
        """
        ngrams = self.longest * characters // CHARACTERS_PER_WORD
        table = 2 * 4 * self.table_parameters + 8 * (self.table_parameters // self.width)
        counting = BYTES_EACH * min(MOST_DISTINCT, ngrams)
        return BASE_BYTES + characters + max(table + 2 * 4 * ngrams, counting)
