"""Embeddings of a small net out of a large one's."""

from __future__ import annotations

import torch
from torch import Tensor

from gearshift.runtime.errors import InputError
from gearshift.trainer.model import Embeddings


@torch.no_grad()
def take_embeddings(mine: Embeddings, teacher: Embeddings) -> None:
    """Copy a teacher's tables; into narrower ones along the principal directions of its words.

    The directions are those of the word table's largest singular values, so that what is left of each row is the
    best that so few numbers can keep of all of them together. All tables and the norm's shift are turned alike; the
    norm's scale, which differs from direction to direction, begins at the teacher's mean.
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
    """(its width, width) orthonormal columns; all of them in their order where nothing is left out."""
    full = words.shape[1]
    if width == full:
        return torch.eye(full, device=words.device)
    double = words.double()
    _, vectors = torch.linalg.eigh(double.T @ double)  # ascending
    chosen: Tensor = vectors[:, full - width :].flip(1).float()
    return chosen
