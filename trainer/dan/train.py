"""Train a DAN: a student of n-gram embeddings, distilled from a transformer (Sparse Distillation, NAACL 2022)."""

from __future__ import annotations

import functools
import itertools
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from gearshift.errors import DataError, InputError, ModelError
from gearshift.runtime.dan.model import Floats, Text
from gearshift.trainer.dan.ngram_table import most_frequent
from gearshift.trainer.dan.run import DanRun, save_dan_run
from gearshift.trainer.dan.settings import DanSettings
from gearshift.trainer.dan.student import Bags, DanStudent, NgramVocabulary, RowwiseAdagrad
from gearshift.trainer.dan.teacher_logits import teacher_logits
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.splits import DataSet
from gearshift.trainer.data.unseen import classes_of
from gearshift.trainer.learning.interrupted import STATE, read_state, readable, save_state
from gearshift.trainer.learning.losses import soft_cross_entropy

EVALUATED = 256
"""Number of texts at once in an evaluation."""


def train_dan(
    teacher: Path,
    data: DataSet,
    settings: DanSettings,
    out: Path,
    *,
    unlabelled: Sequence[Text] = (),
    logits: Path | None = None,
) -> DanRun:
    """Distil a classifier into a DAN and write its run directory, atomically.

    The DAN learns from the teacher's logits on the training rows and the unlabelled texts (pairs of pairs), then, with
    `finetune_epochs`, from the labels. It uses a GPU if there is one, which must hold the table.
    An interrupted training continues from its last state beside `out`.
    `logits`: folder for the teacher's logits, to be reused by other trainings on the same texts; by default they are
    deleted with the state.
    """
    if data.task != "classification":
        raise InputError(f"a DAN learns classification, got a data set of {data.task}")
    rows = () if settings.unlabelled_only else data.splits["train"]
    parts: tuple[Sequence[Text], ...] = ([*map(text_of, rows)], unlabelled)
    texts = [text for part in parts for text in part]
    if not texts:
        raise DataError("unlabelled_only: expected unlabelled texts, found none; name a file of them")
    if any(isinstance(text, str) == data.paired for text in texts):
        raise InputError("unlabelled texts: expected the form of the training rows, single texts or pairs")
    states = out.with_name(f".{out.name}.training")
    sides = _sides(texts, paired=data.paired)
    size = settings.table_parameters // settings.width
    vocabulary = NgramVocabulary(
        most_frequent(itertools.chain(*sides), longest=settings.longest, size=size), settings.longest
    )
    ask = functools.partial(
        teacher_logits, teacher, labels=data.labels, cache=logits or states, max_length=settings.max_length
    )
    if settings.epochs:  # each part by itself, so that another training on one of them finds its logits
        targets = np.concatenate([ask(part) for part in parts if part])
    else:
        targets = np.zeros((len(texts), len(data.labels)), np.float32)
    torch.manual_seed(settings.seed)
    student = DanStudent(
        len(vocabulary.ngrams),
        len(data.labels),
        width=settings.width,
        hidden=settings.hidden,
        dropout=settings.dropout,
        ngram_dropout=settings.ngram_dropout,
        paired=data.paired,
    ).to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    bags = [vocabulary.bags(side) for side in sides]
    identity = {**settings.to_dict(), "learnt": crc32(targets.data, crc32(vocabulary.ngrams.data))}
    fit = _Fit(student, bags, settings, states / STATE, identity)
    fit.stage("distil", torch.from_numpy(targets), settings.epochs)
    if settings.finetune_epochs:
        classes = torch.tensor(classes_of(rows, data.labels))
        fit.stage("fine-tune", classes, settings.finetune_epochs)
    facts = {
        "settings": settings.to_dict(),
        "rows": {"train": len(rows), "unlabelled": len(unlabelled)},
        "held_out": {
            split: _measure(student, vocabulary, data, split, ask) for split in ("dev", "test") if data.splits[split]
        },
    }
    table = student.table.weight.detach().cpu().numpy()
    run = DanRun(out, vocabulary.ngrams, table, student.dense(), data.labels, data.paired, facts)
    save_dan_run(run)
    shutil.rmtree(states, ignore_errors=True)
    return run


def text_of(row: Row) -> Text:
    """Return the text or the pair of a row, as a DAN reads it."""
    return row.text if row.pair is None else (row.text, row.pair)


def _sides(texts: Sequence[Text], *, paired: bool) -> list[list[str]]:
    return [[text if isinstance(text, str) else text[side] for text in texts] for side in range(1 + paired)]


def _measure(
    student: DanStudent, vocabulary: NgramVocabulary, data: DataSet, split: str, ask: Callable[[Sequence[Text]], Floats]
) -> dict[str, float]:
    """Return the shares of a split's rows that the DAN and the teacher answer right, and on which they agree."""
    rows = data.splits[split]
    texts = [text_of(row) for row in rows]
    bags = [vocabulary.bags(side) for side in _sides(texts, paired=data.paired)]
    parts = np.split(np.arange(len(rows)), range(EVALUATED, len(rows), EVALUATED))
    with torch.no_grad():
        mine = torch.cat([student([bag.select(part) for bag in bags]) for part in parts]).argmax(1).cpu().numpy()
    of_teacher = ask(texts).argmax(1)
    right = np.array(classes_of(rows, data.labels))
    return {
        "rows": len(rows),
        "accuracy": float(np.mean(mine == right)),
        "teacher": float(np.mean(of_teacher == right)),
        "agreement": float(np.mean(mine == of_teacher)),
    }


class _Fit:
    """The stages of one training, and its state for resuming after an interruption."""

    def __init__(
        self, student: DanStudent, bags: Sequence[Bags], settings: DanSettings, state: Path, identity: dict[str, Any]
    ) -> None:
        self.student, self.bags, self.settings, self.path = student, bags, settings, state
        self.identity = identity
        self.finished: list[str] = []
        self.saved = read_state(state, delete=state)  # the teacher's logits beside it are still good

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
                logits = self.student([bag.select(rows) for bag in self.bags])
                target = targets[rows].to(logits.device)
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
        """Give (step, rows); every epoch has its own order, the same in a resumed training."""
        size = self.settings.batch_size
        for epoch in range(first // per_epoch, math.ceil(total / per_epoch)):
            order = np.random.default_rng((self.settings.seed, epoch)).permutation(count)
            for step in range(max(first, epoch * per_epoch), min(total, (epoch + 1) * per_epoch)):
                start = (step - epoch * per_epoch) * size
                yield step, order[start : start + size]

    def _save(self, name: str, step: int, table: RowwiseAdagrad, layers: torch.optim.Optimizer) -> None:
        state = {
            "identity": self.identity,
            "finished": self.finished,
            "stage": name,
            "step": step,
            "student": self.student.state_dict(),
            "table": table.state,
            "layers": layers.state_dict(),
            "rng": [torch.get_rng_state(), *torch.cuda.get_rng_state_all()],
        }
        save_state(self.path, state)

    def _resume(self, name: str, table: RowwiseAdagrad, layers: torch.optim.Optimizer, total: int) -> int:
        """Restore the saved state of this stage; return the number of its steps that are done."""
        saved = self.saved
        if saved is None or saved.get("identity") != self.identity:
            return 0
        with readable(self.path, delete=self.path):
            if name in saved["finished"]:
                return total
            if saved["stage"] != name:
                return 0
            self.student.load_state_dict(saved["student"])
            table.state.copy_(saved["table"])
            layers.load_state_dict(saved["layers"])
            torch.set_rng_state(saved["rng"][0])
            torch.cuda.set_rng_state_all(saved["rng"][1:])
            return int(saved["step"])
