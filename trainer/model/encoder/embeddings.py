"""Embeddings of tokens: the first step of every encoder."""

from __future__ import annotations

from torch import Tensor, nn


class Embeddings(nn.Module):
    """Word, position and token-type embeddings: summed, normalised, and projected if narrower than the layers, behind
    the norm or, with `projected_first`, before it."""

    def __init__(
        self,
        *,
        vocabulary: int,
        positions: int,
        types: int,
        width: int,
        hidden: int,
        norm_eps: float,
        bias: bool = True,
        projected_first: bool = False,
    ) -> None:
        """Make embeddings with random weights; 0 `positions`: no table of positions. `bias`: that of the norm."""
        super().__init__()
        self.word = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(positions, width) if positions else None
        self.token_type = nn.Embedding(types, width) if types else None
        self.projected_first = projected_first
        self.norm = nn.LayerNorm(hidden if projected_first else width, eps=norm_eps, bias=bias)
        self.project = nn.Linear(width, hidden, bias=not projected_first) if width != hidden else None

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        """Embed ids: (batch, tokens) -> (batch, tokens, hidden)."""
        summed = self.word(input_ids)  # (batch, tokens, width)
        if self.position is not None:
            summed = summed + self.position.weight[: input_ids.shape[1]]  # (tokens, width)
        if self.token_type is not None:
            summed = summed + self.token_type(token_type_ids)
        if self.projected_first and self.project is not None:
            return self.norm(self.project(summed))  # type: ignore[no-any-return]
        normed: Tensor = self.norm(summed)
        return normed if self.project is None else self.project(normed)  # (batch, tokens, hidden)
