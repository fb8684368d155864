"""How nets of mixed operations are searched and trained: every number that a run can be told."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from gearshift.errors import InputError

SHRINKS = ("architectures", "operations", "none")
BUCKETS = ("quantile", "fixed")


class Whole:
    """What `loop.run_stage` can do and these trainings do not: parts of batches, evaluations, an early end."""

    micro_batch: ClassVar[int] = 0
    evaluate_every: ClassVar[float] = 0
    patience: ClassVar[int] = 0


@dataclass(frozen=True)
class SearchSettings(Whole):
    """Settings of a search; the paper's, where it has them, in brackets.

    The defaults are scaled to a teacher of six layers and two CPU cores.
    """

    block_layers: int = 2
    """Layers of the teacher that a block stands for. [3]"""
    sizes: tuple[int, ...] = ()
    """Hidden sizes of blocks; none: the paper's shares of the teacher's, in whole heads. [128 to 512 of 768]"""
    max_length: int = 64
    """Tokens of a piece of text. [512]"""
    tokens: int = 1_000_000
    """Tokens of text to learn from, at most. [16 GB of text]"""
    dev_tokens: int = 20_000
    """Tokens of text that blocks are scored on."""
    batch_size: int = 32
    """Pieces of text of a training step. [1024]"""
    lr: float = 1e-3
    """Peak learning rate. [5e-4]"""
    warm_epochs: int = 3
    """Epochs before the first deletion. [3]"""
    last_epochs: int = 1
    """Epochs at the end, besides the one that follows each deletion. [0]"""
    buckets: int = 10
    """B: how many kinds of sizes no block can be driven out of. [10]"""
    bucketing: str = "quantile"
    """`quantile`: buckets of as many blocks each. `fixed`: of the same width in parameters, as in the paper."""
    sampled: int = 2000
    """E: blocks of a bucket that are scored in each epoch. [2000]"""
    deleted: float = 0.5
    """R / E: the share of them that is deleted. [.5]"""
    kept: int = 10
    """m: blocks that are left of each bucket. [10]"""
    score_batches: int = 5
    """Batches of held-out text that blocks are scored on. [5]"""
    shrink: str = "architectures"
    """What is deleted: blocks (`architectures`), an operation at a place (`operations`), or nothing (`none`)."""
    max_rounds: int = 30
    """Deletions at most; buckets of one width need many more than equal ones, and keep what is left then."""
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    save_every_s: float = 120
    seed: int = 0

    def __post_init__(self) -> None:
        _check_common(self)
        for name in (
            "block_layers",
            "tokens",
            "dev_tokens",
            "warm_epochs",
            "buckets",
            "sampled",
            "kept",
            "score_batches",
        ):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("last_epochs", "max_rounds"):
            _require(getattr(self, name) >= 0, f"{name} must be 0 or more, got {getattr(self, name)}")
        _require(0 < self.deleted < 1, f"deleted: expected a share between 0 and 1, got {self.deleted}")
        _require(self.shrink in SHRINKS, f"shrink: expected one of {', '.join(SHRINKS)}, got {self.shrink!r}")
        _require(self.bucketing in BUCKETS, f"bucketing: expected one of {', '.join(BUCKETS)}, got {self.bucketing!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return asdict(self)


def _check_common(settings: Any) -> None:
    """What all settings of a training have."""
    _require(settings.batch_size >= 1, f"batch_size must be at least 1, got {settings.batch_size}")
    _require(settings.max_length >= 3, f"max_length: expected 3 tokens or more, got {settings.max_length}")
    _require(settings.seed >= 0, f"seed must be 0 or more, got {settings.seed}")
    for name in ("lr", "warmup", "weight_decay", "clip", "save_every_s"):
        value = getattr(settings, name)
        _require(math.isfinite(value) and value >= 0, f"{name} must be 0 or more, got {value}")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InputError(f"settings: {message}")


OBJECTIVES = ("hidden", "masked")


@dataclass(frozen=True)
class NetSettings(Whole):
    """Settings of the training of one net on text, before it is tuned for a task; the paper's in brackets."""

    embedding: int = 128
    """Width of its embeddings. [64 of 5 M parameters, 128 of 10 M]"""
    embeddings_from: str = "teacher"
    """`teacher`: the teacher's, along their principal directions where the net's are narrower. [`random`]"""
    objective: str = "hidden"
    """`hidden`: the teacher's states behind each block. `masked`: masked words, for which a teacher needs a head of its
    own. [masked]"""
    distilled: bool = True
    """Whether it learns from the teacher here; without, from masked words alone."""
    distillation_weight: float = 0.5
    """Of the teacher's answers against the words themselves, where words are masked. [.5]"""
    masked_share: float = 0.15
    """Tokens that are masked."""
    epochs: float = 10
    """[125,000 steps]"""
    block_layers: int = 2
    max_length: int = 64
    tokens: int = 1_000_000
    dev_tokens: int = 20_000
    batch_size: int = 32
    """[2048]"""
    lr: float = 1e-3
    """[5e-4]"""
    warmup: float = 0.05
    weight_decay: float = 0.01
    dropout: float = 0.0
    """While it learns on text; for a task it has the teacher's."""
    clip: float = 1.0
    save_every_s: float = 120
    seed: int = 0

    def __post_init__(self) -> None:
        _check_common(self)
        for name in ("embedding", "block_layers", "tokens", "dev_tokens"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")
        _require(math.isfinite(self.epochs) and self.epochs >= 0, f"epochs must be 0 or more, got {self.epochs}")
        for name in ("distillation_weight", "masked_share", "dropout"):
            _require(0 <= getattr(self, name) <= 1, f"{name}: expected a share of 1, got {getattr(self, name)}")
        _require(self.objective in OBJECTIVES, f"objective: expected hidden or masked, got {self.objective!r}")
        known = ("teacher", "random")
        _require(
            self.embeddings_from in known, f"embeddings_from: expected one of {known}, got {self.embeddings_from!r}"
        )
        _require(
            self.distilled or self.objective == "masked",
            "a net that is not distilled learns from masked words; set objective to masked",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class TuneSettings(Whole):
    """Settings of the tuning of a net for a task; the paper's in brackets."""

    distillation_weight: float = 0.5
    """Of the teacher's answers against the labels; 0 needs no teacher. [.5]"""
    epochs: float = 5
    max_length: int = 64
    batch_size: int = 32
    lr: float = 5e-4
    head_lr_factor: float = 4
    """Learning rate of the task head, which is new / that of the net."""
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    save_every_s: float = 60
    seed: int = 0

    def __post_init__(self) -> None:
        _check_common(self)
        _require(math.isfinite(self.epochs) and self.epochs > 0, f"epochs must be above 0, got {self.epochs}")
        _require(self.head_lr_factor > 0, f"head_lr_factor must be above 0, got {self.head_lr_factor}")
        weight = self.distillation_weight
        _require(0 <= weight <= 1, f"distillation_weight: expected a share of 1, got {weight}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return asdict(self)
