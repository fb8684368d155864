"""A small net's embeddings out of the teacher's."""

from __future__ import annotations

import pytest
import torch

from gearshift.errors import InputError
from gearshift.trainer.model.encoder.embeddings import Embeddings
from gearshift.trainer.nasbert.train import take_embeddings


def embeddings(width: int, hidden: int = 8) -> Embeddings:
    torch.manual_seed(width)
    made = Embeddings(vocabulary=50, positions=10, types=2, width=width, hidden=hidden, norm_eps=1e-12)
    with torch.no_grad():
        made.word.weight.mul_(torch.linspace(0.2, 2, width))  # some directions say more
        made.norm.weight.uniform_(0.5, 1.5)
        made.norm.bias.normal_()
    return made


def test_tables_of_the_same_width_are_copied() -> None:
    mine, teacher = embeddings(12), embeddings(12)
    take_embeddings(mine, teacher)
    for name, tensor in teacher.state_dict().items():
        if not name.startswith("project"):
            assert torch.equal(mine.state_dict()[name], tensor)


def test_narrower_tables_keep_what_they_can_of_the_distances_between_words() -> None:
    mine, teacher = embeddings(6), embeddings(12)
    take_embeddings(mine, teacher)
    words = teacher.word.weight.detach().double()
    best = float(torch.linalg.svdvals(words)[:6].pow(2).sum())
    assert float(mine.word.weight.detach().double().pow(2).sum()) == pytest.approx(best, rel=1e-5)
    random = torch.linalg.qr(torch.randn(12, 6).double()).Q
    assert best > 1.1 * float((words @ random).pow(2).sum())
    one, other = (torch.cdist(table, table) for table in (words, mine.word.weight.detach().double()))
    assert (other <= one + 1e-5).all()
    assert float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) > 0.8


def test_wider_tables_than_the_teachers_are_refused() -> None:
    with pytest.raises(InputError, match="at most the teacher's 12, got 16"):
        take_embeddings(embeddings(16), embeddings(12))
