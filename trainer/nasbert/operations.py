"""The operations that a block is made of, each with its residual and its norm behind it, as in BERT."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.runtime.mixed import KERNELS, ROUNDS, MixedShape
from gearshift.trainer.model import Dropout, attend


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, hidden: int, heads: int, dropout: Dropout, norm_eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden, eps=norm_eps)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(batch, tokens, hidden) -> the same; `mask` (batch, tokens) is true where a token is real."""

        def split(projected: Tensor) -> Tensor:  # (batch, heads, tokens, head_size)
            return projected.view(*projected.shape[:2], self.heads, -1).transpose(1, 2)

        dropout = self.dropout.attention if self.training else 0.0
        parts = (split(self.query(hidden)), split(self.key(hidden)), split(self.value(hidden)))
        context = attend(*parts, mask[:, None, None, :], dropout)
        attended = self.output(context.transpose(1, 2).flatten(2))
        normed: Tensor = self.norm(hidden + F.dropout(attended, self.dropout.hidden, self.training))
        return normed


class FeedForward(nn.Module):
    """Two linear layers with Gelu between them."""

    def __init__(self, hidden: int, neurons: int, dropout: Dropout, norm_eps: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.into = nn.Linear(hidden, neurons)
        self.out = nn.Linear(neurons, hidden)
        self.norm = nn.LayerNorm(hidden, eps=norm_eps)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(batch, tokens, hidden) -> the same."""
        outer = self.out(F.gelu(self.into(hidden)))
        normed: Tensor = self.norm(hidden + F.dropout(outer, self.dropout.hidden, self.training))
        return normed


class ConvolutionRound(nn.Module):
    """A depthwise convolution along the tokens, a product of each token, and Gelu."""

    def __init__(self, hidden: int, kernel: int, dropout: Dropout, norm_eps: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.depthwise = nn.Conv2d(hidden, hidden, (1, kernel), padding=(0, kernel // 2), groups=hidden)
        self.pointwise = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden, eps=norm_eps)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(batch, tokens, hidden) -> the same; padded tokens count as zeros."""
        real = hidden * mask[:, :, None]
        filtered = self.depthwise(real.transpose(1, 2)[:, :, None])[:, :, 0].transpose(1, 2)  # two axes train faster
        outer = F.gelu(self.pointwise(filtered))
        normed: Tensor = self.norm(hidden + F.dropout(outer, self.dropout.hidden, self.training))
        return normed


class SeparableConvolution(nn.Module):
    """Rounds of separable convolution."""

    def __init__(self, hidden: int, kernel: int, dropout: Dropout, norm_eps: float) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(ConvolutionRound(hidden, kernel, dropout, norm_eps) for _ in range(ROUNDS))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(batch, tokens, hidden) -> the same."""
        for each in self.rounds:
            hidden = each(hidden, mask)
        return hidden


def make_operation(name: str, shape: MixedShape, hidden: int, dropout: Dropout, norm_eps: float) -> nn.Module:
    """One of `mixed.OPERATIONS` at a hidden size, with random weights."""
    if name == "attention":
        return Attention(hidden, hidden // shape.head_size, dropout, norm_eps)
    if name == "ffn":
        return FeedForward(hidden, shape.expansion * hidden, dropout, norm_eps)
    return SeparableConvolution(hidden, KERNELS[name], dropout, norm_eps)


@torch.no_grad()
def start_small(module: nn.Module) -> None:
    """Initial weights as in BERT: normal of .02, no biases."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            part.weight.normal_(0, 0.02)
        if isinstance(part, nn.Linear) and part.bias is not None:
            part.bias.zero_()
