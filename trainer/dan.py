"""DAN: a student of n-gram embeddings that is distilled from a transformer (Sparse Distillation, NAACL 2022).

The table is updated sparsely: a step touches the rows of its n-grams alone, each with one number of optimizer state
(`RowwiseAdagrad`), so that a table of a hundred million numbers trains on two cores.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from gearshift.runtime.dan import Dense, Floats, Text
from gearshift.runtime.dan_index import NgramIndex, build_index
from gearshift.runtime.errors import InputError, ModelError
from gearshift.runtime.ngrams import LONGEST, keys
from gearshift.runtime.storage import replace_file, replacing_directory
from gearshift.trainer.data import DataSet
from gearshift.trainer.losses import soft_cross_entropy
from gearshift.trainer.rows import Row
from gearshift.trainer.teacher_logits import teacher_logits
from gearshift.trainer.vocabulary import Keys, most_frequent

DAN = "dan.json"
WEIGHTS = "model.safetensors"
MOST_PARAMETERS = 1_000_000_000
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class DanSettings:
    """How a DAN is trained; the defaults fit some ten thousand texts on two CPU cores."""

    table_parameters: int = 10_000_000
    """Most numbers of the table: n-grams x width."""
    width: int = 256
    """Length of an embedding. The paper prefers a wide table over one of many n-grams."""
    hidden: int = 256
    longest: int = LONGEST
    epochs: float = 10
    """Epochs of distillation over labelled and unlabelled texts."""
    finetune_epochs: float = 0
    batch_size: int = 64
    table_lr: float = 0.05
    lr: float = 1e-3
    """Learning rate of the layers."""
    dropout: float = 0.1
    max_length: int = 128
    """Tokens that the teacher reads of a text; the DAN reads all of it."""
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

    def memory_bytes(self) -> int:
        """What training needs at its peak: the table, and twice that again while it is saved."""
        return 3 * 4 * self.table_parameters + 8 * (self.table_parameters // self.width)


class RowwiseAdagrad:
    """Adagrad with one number of state per row of a table with sparse gradients: its mean squared gradient, summed."""

    def __init__(self, table: Tensor, lr: float) -> None:
        self.table, self.lr = table, lr
        self.state = torch.zeros(len(table))

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Update the rows that have a gradient, at `factor` of the learning rate, and forget the gradient."""
        assert self.table.grad is not None
        gradient = self.table.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        self.state[rows] += values.pow(2).mean(1)
        self.table.index_add_(0, rows, values / (self.state[rows].sqrt() + 1e-10)[:, None], alpha=-self.lr * factor)
        self.table.grad = None


class DanStudent(nn.Module):
    """Bags of n-gram rows in, logits out."""

    def __init__(self, ngrams: int, labels: int, settings: DanSettings, *, paired: bool) -> None:
        super().__init__()
        self.paired = paired
        self.table = nn.EmbeddingBag(ngrams, settings.width, mode="mean", sparse=True)
        nn.init.normal_(self.table.weight, std=0.1)
        self.dropout = nn.Dropout(settings.dropout)
        self.hidden = nn.Linear(settings.width * (4 if paired else 1), settings.hidden)
        self.output = nn.Linear(settings.hidden, labels)

    def forward(self, bags: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Logits (texts, labels) of one (ids, offsets), or of the two of pairs."""
        means = [self.table(ids, offsets) for ids, offsets in bags]
        if self.paired:
            first, second = means
            means = [first, second, first * second, (first - second).abs()]
        hidden = torch.relu(self.hidden(self.dropout(torch.cat(means, 1))))
        logits: Tensor = self.output(self.dropout(hidden))
        return logits

    def layers(self) -> list[nn.Parameter]:
        """Everything but the table."""
        return [*self.hidden.parameters(), *self.output.parameters()]

    def dense(self) -> Dense:
        """The layers as the runtime has them."""
        parts = (self.hidden.weight, self.hidden.bias, self.output.weight, self.output.bias)
        return Dense(*(part.detach().numpy().copy() for part in parts))


@dataclass(frozen=True)
class DanRun:
    """A trained DAN: what its directory holds."""

    path: Path
    ngrams: Keys
    """Key of each row of the table, the most frequent n-gram first."""
    table: Floats
    dense: Dense
    labels: tuple[str, ...]
    paired: bool
    facts: dict[str, Any]


class Bags:
    """The n-gram rows of many texts, one flat array."""

    def __init__(self, texts: Sequence[str], index: NgramIndex, longest: int, what: str) -> None:
        shown = tqdm(texts, desc=what, unit="text", disable=None)
        found = [index.rows(keys(text, longest)).astype(np.int32) for text in shown]
        self.starts = np.concatenate([[0], np.cumsum([len(rows) for rows in found])])
        self.ids = np.concatenate(found) if found else np.empty(0, np.int32)

    def select(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """(ids, offsets) of these texts, as EmbeddingBag takes them."""
        parts = [self.ids[self.starts[row] : self.starts[row + 1]] for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])[:-1]])
        return torch.from_numpy(np.concatenate(parts).astype(np.int64)), torch.from_numpy(offsets.astype(np.int64))


def train_dan(
    teacher: Path, data: DataSet, settings: DanSettings, out: Path, *, unlabelled: Sequence[Text] = ()
) -> DanRun:
    """Distil a classifier into a DAN and write its run directory, whole or not at all.

    It learns from the teacher's logits on the training rows and the unlabelled texts (pairs of pairs), then, with
    `finetune_epochs`, from the labels. An interrupted training goes on from its last state beside `out`.
    """
    if data.task != "classification":
        raise InputError(f"a DAN learns classification, got a data set of {data.task}")
    rows = data.splits["train"]
    texts: list[Text] = [*map(text_of, rows), *unlabelled]
    if any(isinstance(text, str) == data.paired for text in texts):
        raise InputError("unlabelled texts: expected the form of the training rows, single texts or pairs")
    states = out.with_name(f".{out.name}.training")
    sides = [[text if isinstance(text, str) else text[side] for text in texts] for side in range(1 + data.paired)]
    size = settings.table_parameters // settings.width
    chosen = most_frequent(itertools.chain(*sides), longest=settings.longest, size=size)
    index, order = build_index(chosen)
    targets = teacher_logits(teacher, texts, data.labels, cache=states, max_length=settings.max_length)
    torch.manual_seed(settings.seed)
    student = DanStudent(len(chosen), len(data.labels), settings, paired=data.paired)
    bags = [Bags(side, index, settings.longest, "n-grams") for side in sides]
    fit = _Fit(student, bags, settings, states / "state.pt")
    fit.stage("distil", torch.from_numpy(targets), settings.epochs)
    if settings.finetune_epochs:
        classes = torch.tensor([data.labels.index(str(row.label)) for row in rows])
        fit.stage("fine-tune", classes, settings.finetune_epochs)
    # Rows of the student are in the index's order; a run has them by frequency, so that pruning is a prefix.
    table = np.empty((len(chosen), settings.width), np.float32)
    table[order] = student.table.weight.detach().numpy()
    facts = {"settings": asdict(settings), "rows": {"train": len(rows), "unlabelled": len(unlabelled)}}
    run = DanRun(out, chosen, table, student.dense(), data.labels, data.paired, facts)
    save_dan_run(run)
    shutil.rmtree(states, ignore_errors=True)
    return run


def text_of(row: Row) -> Text:
    """What a DAN reads of a row."""
    return row.text if row.pair is None else (row.text, row.pair)


class _Fit:
    """The stages of one training, and the state that an interruption leaves."""

    def __init__(self, student: DanStudent, bags: Sequence[Bags], settings: DanSettings, state: Path) -> None:
        self.student, self.bags, self.settings, self.path = student, bags, settings, state
        self.finished: list[str] = []
        self.saved = torch.load(state, weights_only=True) if state.is_file() else None

    def stage(self, name: str, targets: Tensor, epochs: float) -> None:
        """Learn the first len(targets) texts: logits of a teacher (floats), or classes (whole numbers)."""
        count, settings = len(targets), self.settings
        per_epoch = math.ceil(count / settings.batch_size)
        total = math.ceil(epochs * per_epoch)
        table = RowwiseAdagrad(self.student.table.weight, settings.table_lr)
        layers = torch.optim.Adam(self.student.layers(), lr=settings.lr)
        torch.manual_seed(settings.seed + len(self.finished))
        done = self._resume(name, table, layers, total)
        saved_at = time.monotonic()
        self.student.train()
        with tqdm(total=total, initial=done, desc=name, unit="step", disable=None) as bar:
            for step, rows in self._batches(count, per_epoch, done, total):
                factor = 1 - step / total
                layers.param_groups[0]["lr"] = settings.lr * factor
                logits, target = self.student([bag.select(rows) for bag in self.bags]), targets[rows]
                loss = (
                    soft_cross_entropy(logits, target)
                    if target.is_floating_point()
                    else F.cross_entropy(logits, target)
                )
                if not torch.isfinite(loss):
                    raise ModelError(
                        f"stage {name}: the loss became {loss.item()} at step {step}; lower the learning rate"
                    )
                loss.backward()  # type: ignore[no-untyped-call]
                table.step(factor)
                layers.step()
                layers.zero_grad(set_to_none=True)
                bar.update()
                if time.monotonic() - saved_at >= settings.save_every_s:
                    self._save(name, step + 1, table, layers)
                    saved_at = time.monotonic()
        self.student.eval()
        self.finished.append(name)

    def _batches(self, count: int, per_epoch: int, first: int, total: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """(step, rows); every epoch in its own order, the same in a resumed training."""
        size = self.settings.batch_size
        for epoch in range(first // per_epoch, math.ceil(total / per_epoch)):
            order = np.random.default_rng((self.settings.seed, epoch)).permutation(count)
            for step in range(max(first, epoch * per_epoch), min(total, (epoch + 1) * per_epoch)):
                start = (step - epoch * per_epoch) * size
                yield step, order[start : start + size]

    def _save(self, name: str, step: int, table: RowwiseAdagrad, layers: torch.optim.Optimizer) -> None:
        buffer = io.BytesIO()
        state = {
            "settings": asdict(self.settings),
            "finished": self.finished,
            "stage": name,
            "step": step,
            "student": self.student.state_dict(),
            "table": table.state,
            "layers": layers.state_dict(),
            "rng": torch.get_rng_state(),
        }
        torch.save(state, buffer)
        replace_file(self.path, buffer.getvalue())

    def _resume(self, name: str, table: RowwiseAdagrad, layers: torch.optim.Optimizer, total: int) -> int:
        """Steps of this stage that a saved state has behind it."""
        saved = self.saved
        if saved is None or saved["settings"] != asdict(self.settings):
            return 0
        if name in saved["finished"]:
            return total
        if saved["stage"] != name:
            return 0
        self.student.load_state_dict(saved["student"])
        table.state.copy_(saved["table"])
        layers.load_state_dict(saved["layers"])
        torch.set_rng_state(saved["rng"])
        return int(saved["step"])


def save_dan_run(run: DanRun) -> None:
    """Write a run directory, whole or not at all; raises StorageError."""
    tensors = {"ngrams": run.ngrams.view(np.int64), "table": run.table, **run.dense.arrays()}
    facts = {"schema_version": SCHEMA_VERSION, "labels": list(run.labels), "paired": run.paired, **run.facts}
    with replacing_directory(run.path, marker=DAN) as fresh:
        safetensors.torch.save_file({name: torch.from_numpy(value) for name, value in tensors.items()}, fresh / WEIGHTS)
        (fresh / DAN).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_dan_run(path: Path) -> DanRun:
    """The DAN in a run directory; raises ModelError where it is none."""
    if not (path / DAN).is_file():
        raise ModelError(
            f"{path}: expected a run directory with {DAN}, found none; make one with `gearshift train-dan`"
        )
    try:
        facts = json.loads((path / DAN).read_text(encoding="utf-8"))
        if facts.pop("schema_version") != SCHEMA_VERSION:
            raise ValueError("another schema version")
        tensors = {name: value.numpy() for name, value in safetensors.torch.load_file(path / WEIGHTS).items()}
        layers = ("hidden_weight", "hidden_bias", "output_weight", "output_bias")
        dense = Dense(*(tensors[name] for name in layers))
        labels, paired = tuple(facts.pop("labels")), bool(facts.pop("paired"))
        return DanRun(path, tensors["ngrams"].view(np.uint64), tensors["table"], dense, labels, paired, facts)
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path}: not a whole DAN run ({error}); train again") from error
