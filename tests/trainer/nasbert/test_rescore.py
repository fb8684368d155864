"""The real loss of nets out of a search's blocks, and which of them is picked."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from gearshift.runtime.space.blocks import Block, BlockSubnet
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.tables.limits import Limits
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.nasbert.corpus import read_corpus
from gearshift.trainer.nasbert.rescore import net_losses, pick
from gearshift.trainer.nasbert.search import Searched
from gearshift.trainer.nasbert.teacher import TeacherEncoder
from tests.trainer.nasbert.tiny import SEARCH


@pytest.fixture(scope="module")
def batches(teacher: TeacherEncoder, text: Path) -> list[Batch]:
    """Held-out text in batches of several lengths."""
    corpus = read_corpus(
        [text],
        teacher.checkpoint.tokenizer,
        max_length=SEARCH.max_length,
        tokens=1,
        dev_tokens=SEARCH.dev_tokens,
    )
    return list(corpus.dev.batches(SEARCH.batch_size, seed=SEARCH.seed))


@torch.no_grad()
def forward_loss(searched: Searched, teacher: TeacherEncoder, subnet: Subnet[Block], batches: list[Batch]) -> float:
    """Squared error of the last states of all real tokens over their variance, by the model's own forward pass."""
    mine, theirs = searched.run.checkpoint.model.eval(), teacher.checkpoint.model.eval()
    errors, spreads = 0.0, 0.0
    for batch in batches:
        real = batch.attention_mask.bool()
        wanted = theirs(batch, theirs.full).hidden[-1][real]
        found = mine(batch, subnet).hidden[-1][real]
        errors += float(((found - wanted) ** 2).mean(1).sum())
        spreads += float(((wanted - wanted.mean(0)) ** 2).mean(1).sum())
    return errors / spreads


def test_the_loss_of_a_net_is_that_of_the_models_forward_pass(
    searched: Searched, teacher: TeacherEncoder, batches: list[Batch]
) -> None:
    """Nets that share blocks at their beginning, and nets that do not, are what they are alone."""
    space = searched.run.checkpoint.model.space
    options = [list(space.options_of(place))[:3] for place in range(space.length)]
    subnets = [BlockSubnet(blocks) for blocks in itertools.product(*options)]
    found = net_losses(searched.run.checkpoint.model, teacher, subnets, batches)
    expected = [forward_loss(searched, teacher, subnet, batches) for subnet in subnets]
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    assert len({round(loss, 5) for loss in expected}) == len(subnets)


def test_the_net_of_least_real_loss_among_the_best_sums_is_picked(
    searched: Searched, teacher: TeacherEncoder, batches: list[Batch]
) -> None:
    limits = Limits(parameters=20_000)
    ranked = pick(searched, limits, embedding=16, top=6, whole_text=False)
    best = searched.tables.best(limits, shape=searched.tables.space.shape.alone(16), count=6)
    assert {one.subnet for one, _ in ranked} == {one.subnet for one in best}
    losses = [loss for _, loss in ranked]
    assert losses == sorted(losses)
    first = batches[: SEARCH.score_batches]
    assert losses == pytest.approx([forward_loss(searched, teacher, one.subnet, first) for one, _ in ranked], rel=1e-4)
