"""Choice of a net: the best by summed loss, ranked by their measured loss with the shared weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from gearshift.errors import InputError
from gearshift.runtime.space.blocks import Block, BlockShape
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.tables.latency import LatencyPredictor
from gearshift.runtime.tables.limits import Limits
from gearshift.runtime.tables.tables import Estimate, Tables
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.learning.devices import training_device
from gearshift.trainer.nasbert.corpus import read_corpus
from gearshift.trainer.nasbert.model import MixedModel
from gearshift.trainer.nasbert.search import Searched
from gearshift.trainer.nasbert.settings import SearchSettings
from gearshift.trainer.nasbert.shrinking import Floats
from gearshift.trainer.nasbert.teacher import TeacherEncoder, load_teacher


def pick(
    searched: Searched,
    limits: Limits,
    *,
    embedding: int,
    top: int = 100,
    latency: LatencyPredictor[Block] | None = None,
    first_only: bool = False,
    texts: Sequence[Path] | None = None,
    teacher: TeacherEncoder | None = None,
    whole_text: bool = True,
) -> list[tuple[Estimate[Block], float]]:
    """Return the `top` nets of least summed loss within the limits, with their measured losses, best first.

    `first_only`: as for `Tables.best`.
    `whole_text`: only nets whose last block has attention. In a net of convolutions alone, the first token, which
    classification reads, sees only a few neighbours; the loss, a mean over all tokens, hardly shows that.
    `texts`, `teacher`: default those of the search.
    Raises InputError if no net is within the limits, ModelError if the teacher has other weights than in the search.
    """
    tables = _seeing_all(searched.tables) if whole_text else searched.tables
    found = tables.best(limits, latency, shape=tables.space.shape.alone(embedding), count=top, first_only=first_only)
    facts = searched.run.facts
    teacher = teacher or load_teacher(Path(facts["teacher"]))
    teacher.require(facts.get("teacher_hash"), searched.run.path)
    settings = SearchSettings(**{**facts["settings"], "sizes": tuple(facts["settings"]["sizes"])})
    corpus = read_corpus(
        texts or [Path(path) for path in facts["texts"]],
        teacher.checkpoint.tokenizer,
        max_length=settings.max_length,
        tokens=1,
        dev_tokens=settings.dev_tokens,
    )
    batches = list(corpus.dev.batches(settings.batch_size, seed=settings.seed))[: settings.score_batches]
    losses = net_losses(searched.run.checkpoint.model, teacher, [one.subnet for one in found], batches)
    return sorted(zip(found, losses.tolist(), strict=True), key=lambda pair: pair[1])


def _seeing_all(tables: Tables[Block, BlockShape]) -> Tables[Block, BlockShape]:
    """Return the tables with only those last blocks that have attention."""
    *others, last = (list(range(len(rows))) for rows in tables.rows)
    blocks = list(tables.space.options_of(len(others)))
    seeing = [number for number in last if "attention" in blocks[number].operations]
    if not seeing:
        raise InputError(
            "block tables: no last block with attention is left; allow any with whole_text=False (--any-net)"
        )
    return tables.thinned([*others, seeing])


@torch.no_grad()
def net_losses(
    model: MixedModel, teacher: TeacherEncoder, subnets: Sequence[Subnet[Block]], batches: Sequence[Batch]
) -> Floats:
    """Measure mean squared error / variance of the last states of each net, shape (nets,).

    Each block gets the output of the one before it.
    """
    device = training_device()
    model.eval().to(device)
    theirs = teacher.checkpoint.model.eval().to(device)
    errors, spreads = np.zeros(len(subnets)), 0.0
    for batch in (each.to(device) for each in tqdm(batches, desc="real losses", disable=None, leave=False)):
        mask = batch.attention_mask.bool()
        wanted = theirs(batch, theirs.full).hidden[-1][mask]
        known: dict[tuple[Block, ...], Tensor] = {(): model.embeddings(batch.input_ids, batch.token_type_ids)}
        for number, subnet in enumerate(subnets):
            last = _states(model, subnet, mask, known)
            errors[number] += len(wanted) * F.mse_loss(last[mask], wanted).item()
        spreads += len(wanted) * float(wanted.var(0, correction=0).mean())
    return errors / spreads


def _states(model: MixedModel, subnet: Subnet[Block], mask: Tensor, known: dict[tuple[Block, ...], Tensor]) -> Tensor:
    """Compute the last states of a net; `known` keeps the states of common prefixes of nets."""
    *stages, last = model.stages
    for count, stage in enumerate(stages, start=1):
        blocks = subnet.layers[:count]
        if blocks not in known:
            known[blocks] = stage(known[blocks[:-1]], mask, blocks[-1])
    states: Tensor = last(known[subnet.layers[:-1]], mask, subnet.layers[-1])
    return states
