"""Transformer layer that can run with only its first heads and its first neurons."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.subnet import Kept
from gearshift.trainer.model.encoder.activations import ACTIVATIONS
from gearshift.trainer.model.encoder.positions import View, rotate


@dataclass(frozen=True)
class Dropout:
    """Dropout probabilities in training."""

    hidden: float = 0.1
    attention: float = 0.1


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float) -> Tensor:
    """Compute attention over (batch, heads, tokens, head_size).

    `mask`: true for tokens that may be attended to, or numbers that are added to the scores.

    On a CPU it is computed in fp32 even under autocast: in bf16 the backward pass of torch 2.13 takes six times as long
    at 14 tokens, which would be a third of a training step.
    """
    if query.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        mask = mask if mask.dtype is torch.bool else mask.to(query.dtype)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    with torch.autocast("cpu", enabled=False):
        parts = (query.float(), key.float(), value.float())
        mask = mask if mask.dtype is torch.bool else mask.float()
        return F.scaled_dot_product_attention(*parts, attn_mask=mask, dropout_p=dropout)


def first_outputs(linear: nn.Linear, value: Tensor, count: int) -> Tensor:
    """Apply the first `count` outputs of a linear layer."""
    return F.linear(value, linear.weight[:count], None if linear.bias is None else linear.bias[:count])


class ElasticLayer(nn.Module):
    """Layer of the form of a shape: norms before or behind its halves, its feed-forward network plain or gated."""

    head_order: Tensor | None

    def __init__(self, shape: EncoderShape, place: int, dropout: Dropout, norm_eps: float) -> None:
        """Make layer number `place` with random weights."""
        super().__init__()
        hidden, bias = shape.hidden, shape.biases
        self.head_size = shape.head_size
        self.norm_first = shape.norm_first
        self.activation = ACTIVATIONS[shape.activation]
        self.dropout = dropout
        self.query = nn.Linear(hidden, hidden, bias=bias)
        self.key = nn.Linear(hidden, hidden, bias=bias)
        self.value = nn.Linear(hidden, hidden, bias=bias)
        own = shape.position_terms if shape.position_products else ()
        self.position_key = nn.Linear(hidden, hidden, bias=bias) if "c2p" in own else None
        self.position_query = nn.Linear(hidden, hidden, bias=bias) if "p2c" in own else None
        self.attention_output = nn.Linear(hidden, hidden, bias=bias)
        # The first pre-norm layer gets what the norm of the embeddings gives.
        normed = not (shape.norm_first and place == 0)
        self.attention_norm = nn.LayerNorm(hidden, eps=norm_eps, bias=bias) if normed else nn.Identity()
        self.ffn_in = nn.Linear(hidden, shape.neurons, bias=bias)
        self.ffn_gate = nn.Linear(hidden, shape.neurons, bias=bias) if shape.gated else None
        self.ffn_out = nn.Linear(shape.neurons, hidden, bias=bias)
        self.ffn_norm = nn.LayerNorm(hidden, eps=norm_eps, bias=bias)
        # Columns of the biases of relative positions that belong to the heads, which are sorted in each layer.
        self.register_buffer("head_order", torch.arange(shape.heads) if shape.relative_buckets else None)

    def forward(self, hidden: Tensor, view: View, kept: Kept, head_gate: Tensor | None) -> Tensor:
        """Run the kept part of the layer: (batch, tokens, hidden) -> (batch, tokens, hidden)."""
        if self.norm_first:
            hidden = hidden + self._drop(self._attention(self.attention_norm(hidden), view, kept.heads, head_gate))
            return hidden + self._drop(self._ffn(self.ffn_norm(hidden), kept.neurons))
        hidden = self.attention_norm(hidden + self._drop(self._attention(hidden, view, kept.heads, head_gate)))
        normed: Tensor = self.ffn_norm(hidden + self._drop(self._ffn(hidden, kept.neurons)))
        return normed

    def _attention(self, hidden: Tensor, view: View, heads: int, head_gate: Tensor | None) -> Tensor:
        inner = heads * self.head_size

        def split(linear: nn.Linear) -> Tensor:  # (batch, tokens, hidden) -> (batch, heads, tokens, head_size)
            projected = first_outputs(linear, hidden, inner)  # (batch, tokens, inner)
            return projected.view(*projected.shape[:2], heads, self.head_size).transpose(1, 2)

        query, key, value = split(self.query), split(self.key), split(self.value)
        if view.rotation is not None:
            query, key = rotate(query, view.rotation), rotate(key, view.rotation)
        added = view.bias if view.bias is None or self.head_order is None else view.bias[self.head_order[:heads]]
        if view.disentangled is not None:
            terms = view.disentangled.scores(query, key, *self._position_parts(view.disentangled.vectors, heads))
            added = terms if added is None else added + terms
            query = query * view.disentangled.scale()
        dropout = self.dropout.attention if self.training else 0.0
        context = attend(query, key, value, view.scores_mask(added), dropout)
        if head_gate is not None:
            context = context * head_gate[:heads, None, None]
        merged = context.transpose(1, 2).flatten(2)  # (batch, heads, tokens, head_size) -> (batch, tokens, inner)
        return F.linear(merged, self.attention_output.weight[:, :inner], self.attention_output.bias)

    def _position_parts(self, vectors: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        """Return vectors of relative positions as keys and as queries of heads, (heads, rows, head_size)."""
        products = (self.position_key or self.key, self.position_query or self.query)
        as_keys, as_queries = (first_outputs(each, vectors, heads * self.head_size) for each in products)
        shape = (len(vectors), heads, self.head_size)
        return as_keys.view(shape).transpose(0, 1), as_queries.view(shape).transpose(0, 1)

    def _ffn(self, hidden: Tensor, neurons: int) -> Tensor:
        # (batch, tokens, hidden) -> (batch, tokens, kept neurons) -> (batch, tokens, hidden)
        inner = self.activation(first_outputs(self.ffn_in, hidden, neurons))
        if self.ffn_gate is not None:
            inner = inner * first_outputs(self.ffn_gate, hidden, neurons)
        return F.linear(inner, self.ffn_out.weight[:, :neurons], self.ffn_out.bias)

    def _drop(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.dropout.hidden, self.training)
