"""Training of one net of mixed operations on text: the first of the paper's two stages (NAS-BERT, section 3.4).

In the paper, the net predicts masked words and learns from the teacher's predictions. A teacher without a head for
masked words has only hidden states: the net then learns the states after each block, through projections that are
discarded afterwards.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.errors import InputError
from gearshift.runtime.files.atomic import require_replaceable
from gearshift.runtime.space.blocks import Block
from gearshift.runtime.space.space import block_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.learning.devices import training_device
from gearshift.trainer.learning.interrupted import claim, fixed_settings
from gearshift.trainer.learning.loop import StagePlan, run_stage
from gearshift.trainer.learning.losses import soft_cross_entropy
from gearshift.trainer.model.elastic import Head
from gearshift.trainer.model.encoder.embeddings import Embeddings
from gearshift.trainer.model.encoder.layer import Dropout
from gearshift.trainer.nasbert.blocks import bridged_shape
from gearshift.trainer.nasbert.corpus import Corpus, read_corpus
from gearshift.trainer.nasbert.masked import MaskedHead, mask_words, teacher_head
from gearshift.trainer.nasbert.model import MixedModel, start_small
from gearshift.trainer.nasbert.run import MIXED, MixedCheckpoint, MixedRun, load_mixed_run, save_mixed_run
from gearshift.trainer.nasbert.settings import NetSettings
from gearshift.trainer.nasbert.teacher import TaughtRows, TeacherEncoder, boundaries_of, read_states

Loss = Callable[[Batch, int], Tensor]
"""Function from a batch, and a seed for its masking, to the loss."""
MASK_TOKENS = ("[MASK]", "<mask>")


class Student(nn.Module):
    """Net in training: with projections to the teacher's width, or with a head for masked words."""

    def __init__(self, net: MixedModel, hidden: int, *, masked: bool) -> None:
        super().__init__()
        self.net = net
        widths = [block.hidden for block in net.full.layers]
        self.projections = nn.ModuleList([] if masked else (nn.Linear(width, hidden) for width in widths))
        words, width = net.embeddings.word.weight.shape
        self.masked = MaskedHead(widths[-1], words, width, net.norm_eps) if masked else None
        start_small(self)

    @property
    def subnet(self) -> Subnet[Block]:
        """Subnet that is the whole net."""
        return self.net.full


def train_net(
    subnet: Subnet[Block],
    teacher: TeacherEncoder,
    texts: Sequence[Path],
    settings: NetSettings,
    out: Path,
    *,
    states: Path | None = None,
) -> MixedRun:
    """Train a net on text and write its run directory `out`; `nasbert.tune` then tunes it for a task.

    `states`: folder of the teacher's states, as for `nasbert.search.search_blocks`; the same folder can be used.
    An interrupted training resumes from its last saved state when called again with the same arguments.
    """
    require_replaceable(out, marker=MIXED)
    shape = teacher.checkpoint.model.shape
    boundaries = boundaries_of(shape.layers, settings.block_layers)
    if len(subnet.layers) != len(boundaries) - 1:
        raise InputError(
            f"net {subnet.name}: expected {len(boundaries) - 1} blocks, one for {settings.block_layers} layers of the "
            f"teacher each, got {len(subnet.layers)}"
        )
    corpus = read_corpus(
        texts,
        teacher.checkpoint.tokenizer,
        max_length=settings.max_length,
        tokens=settings.tokens,
        dev_tokens=settings.dev_tokens,
    )
    torch.manual_seed(settings.seed)
    student = _make(subnet, teacher, settings).to(training_device())
    interrupted = out.resolve().with_name(f"{out.resolve().name}.partial")
    claim(interrupted, _identity(subnet, teacher, corpus, settings), defaults={"settings": NetSettings().to_dict()})
    if settings.objective == "hidden":
        train_loss, dev_loss = _hidden_losses(student, teacher, corpus, settings, states or interrupted / "states")
    else:
        train_loss = dev_loss = _masked_loss(student, teacher, settings)

    def losses(model: nn.Module, batch: Batch, index: int) -> list[Callable[[], Tensor]]:
        return [partial(train_loss, batch, index)]

    if settings.epochs > 0:
        plan = StagePlan("net", settings.epochs, settings.lr)
        run_stage(student, corpus.train, plan, settings, losses, states=interrupted)
    facts = {
        "settings": settings.to_dict(),
        "teacher": str(teacher.checkpoint.source.resolve()),
        "teacher_hash": teacher.hash,
        "corpus": corpus.hash,
        "max_length": settings.max_length,
        "dev_loss": _measure(student, dev_loss, corpus),
    }
    net = student.net
    # The dropout in the file is that of the later tuning.
    net.dropout = teacher.checkpoint.model.dropout
    checkpoint = MixedCheckpoint(net, teacher.checkpoint.tokenizer, (), teacher.checkpoint.source)
    save_mixed_run(out, checkpoint, subnets={subnet.name: subnet}, accuracies={}, facts=facts)
    shutil.rmtree(interrupted, ignore_errors=True)
    return load_mixed_run(out)


def _make(subnet: Subnet[Block], teacher: TeacherEncoder, settings: NetSettings) -> Student:
    model = teacher.checkpoint.model
    bridged = bridged_shape(model.shape)
    shape = dataclasses.replace(bridged, bridge=0, embedding=settings.embedding)
    dropout = Dropout(settings.dropout, settings.dropout)
    head = Head("embedding", pooling=model.head.pooling)
    net = MixedModel(block_space(shape, [subnet]), 0, head=head, dropout=dropout, norm_eps=model.norm_eps)
    student = Student(net, model.shape.hidden, masked=settings.objective == "masked")
    if settings.embeddings_from == "teacher":
        take_embeddings(net.embeddings, model.embeddings)
    return student


def _identity(subnet: Subnet[Block], teacher: TeacherEncoder, corpus: Corpus, settings: NetSettings) -> dict[str, Any]:
    """Return the identity of a training: all that must be equal for an interrupted one to resume."""
    return {
        "settings": fixed_settings(settings.to_dict()),
        "net": subnet.name,
        "teacher": teacher.hash,
        "corpus": corpus.hash,
    }


def _hidden_losses(
    student: Student, teacher: TeacherEncoder, corpus: Corpus, settings: NetSettings, folder: Path
) -> tuple[Loss, Loss]:
    """Return the losses on training and held-out text.

    A loss is the mean over the blocks of (squared error / variance) of the teacher's states after the block.
    """
    texts = read_states(teacher, corpus, settings.block_layers, folder)
    spread = _spread(texts[1], len(student.subnet.layers))

    def of(text: TaughtRows) -> Loss:
        def loss(batch: Batch, seed: int) -> Tensor:
            return _hidden_loss(student, text, batch, spread)

        return loss

    return of(texts[0]), of(texts[1])


def _hidden_loss(student: Student, text: TaughtRows, batch: Batch, spread: Sequence[float]) -> Tensor:
    real = batch.attention_mask.bool()
    hidden: tuple[Tensor, ...] = student.net(batch, student.subnet).hidden[1:]
    total = torch.zeros((), device=real.device)
    for number, (states, project) in enumerate(zip(hidden, student.projections, strict=True)):
        wanted = text.states.of(number + 1, batch)[real]
        total = total + F.mse_loss(project(states[real]), wanted) / spread[number]
    return total / len(hidden)


def _spread(text: TaughtRows, blocks: int) -> list[float]:
    """Return the variance of the teacher's states after each block, over held-out text."""
    batches = list(text.rows.batches(64))
    found = []
    for number in range(1, blocks + 1):
        states = torch.cat([text.states.of(number, batch)[batch.attention_mask.bool()] for batch in batches])
        found.append(float(states.var(0, correction=0).mean()))
    return found


def _masked_loss(student: Student, teacher: TeacherEncoder, settings: NetSettings) -> Loss:
    """Return the loss of masked words: cross entropy, mixed with that of the teacher's predictions (equation 5)."""
    tokenizer = teacher.checkpoint.tokenizer
    found = [tokenizer.token_to_id(name) for name in MASK_TOKENS if tokenizer.token_to_id(name) is not None]
    if not found:
        raise InputError(f"tokenizer: no mask token; expected {' or '.join(MASK_TOKENS)}")
    special = torch.tensor([id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special])
    its_head = None
    if settings.distilled:
        head, table = teacher_head(teacher.checkpoint.source)
        its_head = head.to(training_device()), table.to(training_device())
    model, share = teacher.checkpoint.model.eval().to(training_device()), settings.distillation_weight
    words = student.net.embeddings.word.weight
    assert student.masked is not None
    guess: MaskedHead = student.masked

    def loss(batch: Batch, seed: int) -> Tensor:
        hidden, chosen = mask_words(
            batch, share=settings.masked_share, mask_id=found[0], words=len(words), special=special, seed=seed
        )
        logits = guess(student.net(hidden, student.subnet).hidden[-1][chosen], words)
        plain = F.cross_entropy(logits, batch.input_ids[chosen])
        if its_head is None:
            return plain
        with torch.no_grad():
            theirs = its_head[0](model(hidden, model.full).hidden[-1][chosen], its_head[1])
        both: Tensor = (1 - share) * plain + share * soft_cross_entropy(logits, theirs)
        return both

    return loss


@torch.no_grad()
def _measure(student: Student, loss: Loss, corpus: Corpus) -> float:
    """Measure the mean loss on held-out text."""
    student.eval()
    batches = [batch.to(student.net.device) for batch in corpus.dev.batches(64)]
    losses = [loss(batch, seed).item() for seed, batch in enumerate(batches)]
    return float(np.average(losses, weights=[int(batch.attention_mask.sum()) for batch in batches]))


@torch.no_grad()
def take_embeddings(mine: Embeddings, teacher: Embeddings) -> None:
    """Copy a teacher's embedding tables; narrower ones are projected onto the principal directions of its words.

    The directions belong to the largest singular values of the word table: the best approximation of all rows together
    in `width` dimensions. All tables and the shift of the norm are projected alike. The scale of the norm, which
    differs between directions, starts at the teacher's mean.
    """
    width, its_width = mine.word.weight.shape[1], teacher.word.weight.shape[1]
    if width > its_width:
        raise InputError(f"embeddings: expected a width of at most the teacher's {its_width}, got {width}")
    turn = _directions(teacher.word.weight, width)
    for own, its in (
        (mine.word, teacher.word),
        (mine.position, teacher.position),
        (mine.token_type, teacher.token_type),
    ):
        if own is not None and its is not None:
            own.weight.copy_(its.weight[: len(own.weight)] @ turn)
    if width == len(turn):
        mine.norm.load_state_dict(teacher.norm.state_dict())
    else:
        mine.norm.weight.fill_(teacher.norm.weight.mean().item())
        mine.norm.bias.copy_(turn.T @ teacher.norm.bias)
    if (
        mine.project is not None
        and teacher.project is not None
        and mine.project.weight.shape == teacher.project.weight.shape
    ):
        mine.project.load_state_dict(teacher.project.state_dict())


def _directions(words: Tensor, width: int) -> Tensor:
    """Return orthonormal columns, shape (teacher's width, width); the identity if both widths are equal."""
    full = words.shape[1]
    if width == full:
        return torch.eye(full, device=words.device)
    double = words.double()
    _, vectors = torch.linalg.eigh(double.T @ double)  # ascending
    chosen: Tensor = vectors[:, full - width :].flip(1).float()
    return chosen
