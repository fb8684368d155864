"""Settings of the search, training and tuning of nets of mixed operations; `paper` is the value in NAS-BERT."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gearshift.errors import InputError
from gearshift.settings import same_as, setting
from gearshift.trainer.learning.settings import LoopSettings

SHRINKS = ("architectures", "operations", "none")
BUCKETS = ("quantile", "fixed")
OBJECTIVES = ("hidden", "masked")
EMBEDDINGS = ("teacher", "random")


@dataclass(frozen=True, kw_only=True)
class NasSettings(LoopSettings):
    """Settings shared by the search, the training of a net and its tuning."""

    max_length: int = setting(64, "tokens of a text; longer ones are cut", unit="TOKENS")
    lr: float = setting(1e-3, "peak learning rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.max_length >= 3, f"max_length: expected 3 tokens or more, got {self.max_length}")

    def _at_least(self, least: int, *names: str) -> None:
        expected = "be at least 1" if least else "be 0 or more"
        for name in names:
            _require(getattr(self, name) >= least, f"{name} must {expected}, got {getattr(self, name)}")

    def _is_share(self, *names: str) -> None:
        for name in names:
            _require(0 <= getattr(self, name) <= 1, f"{name}: expected a share of 1, got {getattr(self, name)}")

    def _is_one_of(self, name: str, choices: Sequence[str]) -> None:
        value = getattr(self, name)
        _require(value in choices, f"{name}: expected {_listed(choices)}, got {value!r}")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InputError(f"settings: {message}")


def _listed(choices: Sequence[str]) -> str:
    return f"one of {', '.join(choices)}" if len(choices) > 2 else " or ".join(choices)


@dataclass(frozen=True, kw_only=True)
class TextSettings(NasSettings):
    """Settings of training on plain text, cut into pieces."""

    block_layers: int = setting(2, "layers of the teacher that a block replaces", unit="LAYERS", paper="3")
    max_length: int = same_as(NasSettings, "max_length", text="tokens of a piece of text", paper="512")
    tokens: int = setting(1_000_000, "most tokens of text to learn from", unit="TOKENS", paper="16 GB of text")
    dev_tokens: int = setting(20_000, "tokens of held-out text to score on", unit="TOKENS")
    batch_size: int = same_as(NasSettings, "batch_size", text="pieces of text per training step")
    lr: float = same_as(NasSettings, "lr", paper="0.0005")
    warmup: float = same_as(NasSettings, "warmup", 0.05)
    save_every_s: float = same_as(NasSettings, "save_every_s", 120)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "block_layers", "tokens", "dev_tokens")


@dataclass(frozen=True, kw_only=True)
class SearchSettings(TextSettings):
    """Settings of a search; the defaults are scaled to a teacher of six layers and two CPU cores."""

    batch_size: int = same_as(TextSettings, "batch_size", paper="1024")
    sizes: tuple[int, ...] = setting(
        (),
        "hidden sizes of blocks",
        unit="N,N",
        unset="the paper's shares of the teacher's size, in whole heads",
        paper="128 to 512 of 768",
    )
    warm_epochs: int = setting(3, "epochs before the first deletion", unit="EPOCHS", paper="3")
    last_epochs: int = setting(1, "epochs at the end, besides the one after each deletion", unit="EPOCHS", paper="0")
    buckets: int = setting(10, "buckets of blocks by size, each of which keeps some blocks", paper="10")
    bucketing: str = setting(
        "quantile",
        "quantile: an equal number of blocks per bucket; fixed: buckets of equal width in parameters",
        choices=BUCKETS,
        paper="fixed",
    )
    sampled: int = setting(2000, "blocks of a bucket that are scored in each epoch", unit="BLOCKS", paper="2000")
    deleted: float = setting(0.5, "share of the scored blocks that is deleted", unit="SHARE", paper="0.5")
    kept: int = setting(10, "blocks that remain in each bucket", unit="BLOCKS", paper="10")
    score_batches: int = setting(5, "batches of held-out text that blocks are scored on", unit="BATCHES", paper="5")
    shrink: str = setting(
        "architectures",
        "objects of deletion: blocks (architectures), an operation at a place (operations), or nothing (none)",
        choices=SHRINKS,
    )
    # Buckets of equal width need many more rounds than buckets of equal count.
    max_rounds: int = setting(
        30, "most deletions; a bucket then keeps its remaining blocks, even if more than --kept", unit="ROUNDS"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "warm_epochs", "buckets", "sampled", "kept", "score_batches")
        self._at_least(0, "last_epochs", "max_rounds")
        _require(0 < self.deleted < 1, f"deleted: expected a share between 0 and 1, got {self.deleted}")
        self._is_one_of("shrink", SHRINKS)
        self._is_one_of("bucketing", BUCKETS)


@dataclass(frozen=True, kw_only=True)
class NetSettings(TextSettings):
    """Settings of the training of one net on text, before it is tuned for a task."""

    batch_size: int = same_as(TextSettings, "batch_size", paper="2048")
    embedding: int = setting(128, "width of the embeddings", unit="NUMBERS", paper="64 of 5 M parameters, 128 of 10 M")
    embeddings_from: str = setting(
        "teacher",
        "teacher: start from its embeddings, along their principal directions if the net's are narrower; "
        "random: start from random ones",
        choices=EMBEDDINGS,
        paper="random",
    )
    # The objective `masked` needs a teacher with a head for masked words.
    objective: str = setting(
        "hidden",
        "hidden: learn the teacher's states after each block; masked: predict masked words",
        choices=OBJECTIVES,
        paper="masked",
    )
    distilled: bool = setting(True, "learn from the teacher; if not, from masked words alone")
    distillation_weight: float = setting(
        0.5, "weight of the teacher's predictions against the masked words themselves", unit="SHARE", paper="0.5"
    )
    masked_share: float = setting(0.15, "share of the tokens that are masked", unit="SHARE")
    epochs: float = setting(10, "epochs over the text", unit="EPOCHS", paper="125,000 steps")
    dropout: float = setting(0.0, "dropout while learning on text; tuning for a task uses the teacher's", unit="SHARE")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "embedding")
        _require(math.isfinite(self.epochs) and self.epochs >= 0, f"epochs must be 0 or more, got {self.epochs}")
        self._is_share("distillation_weight", "masked_share", "dropout")
        self._is_one_of("objective", OBJECTIVES)
        self._is_one_of("embeddings_from", EMBEDDINGS)
        _require(
            self.distilled or self.objective == "masked",
            "without distillation a net learns from masked words; set objective to masked",
        )


@dataclass(frozen=True, kw_only=True)
class TuneSettings(NasSettings):
    """Settings of tuning a net for a task."""

    distillation_weight: float = setting(
        0.5, "weight of the teacher's answers against the labels; 0 needs no teacher", unit="SHARE", paper="0.5"
    )
    epochs: float = setting(5, "epochs over the rows", unit="EPOCHS")
    lr: float = same_as(NasSettings, "lr", 5e-4)
    head_lr_factor: float = setting(4, "learning rate of the new task head / learning rate of the net")

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(math.isfinite(self.epochs) and self.epochs > 0, f"epochs must be above 0, got {self.epochs}")
        _require(self.head_lr_factor > 0, f"head_lr_factor must be above 0, got {self.head_lr_factor}")
        self._is_share("distillation_weight")
