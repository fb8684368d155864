"""Elastic encoder: a BERT-class model that can run any of its subnets.

1. BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805): the encoder, its pooler and classifier.
2. DynaBERT (Hou et al. 2020, https://arxiv.org/abs/2004.04037): elastic widths and depths, section 2.

Heads and neurons are sorted by importance, so that a subnet is a prefix of every weight matrix. The subnet is an
argument of `forward`, and the model stores nothing about it: one model can run different subnets in turn, and threads
can share it.

Layers are post-norm, as in BERT: h = norm(h + attention(h)); h = norm(h + ffn(h)).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.subnet import Kept, Shape, Subnet
from gearshift.runtime.space.uniform import DEPTHS, WIDTHS, uniform_grid
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.model.embedding_head import Normalize, Pooling, Step

HEAD = ("pooler.", "classifier.")
"""Prefixes of the task head's parameter names."""

POOLED = ("classification", "multi-label-classification", "regression")
"""Tasks that are answered from the first token alone, through the pooler."""


@dataclass(frozen=True)
class Dropout:
    """Dropout probabilities in training."""

    hidden: float = 0.1
    attention: float = 0.1


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "gelu": F.gelu, "relu": F.relu}


@dataclass(frozen=True)
class Head:
    """Task head: the step from the states of the last layer to the answer."""

    task: str = "classification"
    """Name of the task, one of `tasks.TASKS`."""
    activation: str = "tanh"
    """Activation of the pooler, one of ACTIVATIONS; for tasks in POOLED."""
    pooling: str = "first"
    """Pooling of an embedding, one or several of `embedding_head.POOLINGS` with `+` between them."""
    steps: tuple[Step, ...] = (Normalize(),)
    """Steps of an embedding behind its pooling."""
    skipped: int = 0
    """Number of tokens at the start of each text, those of its prompt, that the pooling leaves out."""

    @property
    def poolings(self) -> tuple[str, ...]:
        """Names of the poolings, whose vectors are concatenated."""
        return tuple(self.pooling.split("+"))

    def width(self, hidden: int) -> int:
        """Return the width of an embedding of states of width `hidden`."""
        width = len(self.poolings) * hidden
        for step in self.steps:
            width = step.width(width)
        return width


@dataclass(frozen=True)
class Output:
    """Results of a forward pass."""

    logits: Tensor
    """Answer, shape (batch, labels); per token (batch, tokens, labels); for an embedding (batch, width)."""
    hidden: tuple[Tensor, ...]
    """Embeddings, then the output of every kept layer, each of shape (batch, tokens, hidden)."""


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float) -> Tensor:
    """Compute attention over (batch, heads, tokens, head_size); `mask` is true for tokens that may be attended to.

    On a CPU it is computed in fp32 even under autocast: in bf16 the backward pass of torch 2.13 takes six times as long
    at 14 tokens, which would be a third of a training step.
    """
    if query.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    with torch.autocast("cpu", enabled=False):
        parts = (query.float(), key.float(), value.float())
        return F.scaled_dot_product_attention(*parts, attn_mask=mask, dropout_p=dropout)


class Embeddings(nn.Module):
    """Word, position and token-type embeddings: summed, normalised, and projected if narrower than the layers."""

    def __init__(
        self, *, vocabulary: int, positions: int, types: int, width: int, hidden: int, norm_eps: float
    ) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(positions, width)
        self.token_type = nn.Embedding(types, width) if types else None
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.project = nn.Linear(width, hidden) if width != hidden else None

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        """Embed ids: (batch, tokens) -> (batch, tokens, hidden)."""
        positions = self.position.weight[: input_ids.shape[1]]  # (tokens, width)
        summed = self.word(input_ids) + positions  # (batch, tokens, width)
        if self.token_type is not None:
            summed = summed + self.token_type(token_type_ids)
        normed: Tensor = self.norm(summed)
        return normed if self.project is None else self.project(normed)  # (batch, tokens, hidden)


class ElasticLayer(nn.Module):
    """Transformer layer that can run with only its first heads and its first neurons."""

    def __init__(self, shape: EncoderShape, dropout: Dropout, norm_eps: float) -> None:
        super().__init__()
        hidden = shape.hidden
        self.head_size = shape.head_size
        self.dropout = dropout
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.attention_output = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=norm_eps)
        self.ffn_in = nn.Linear(hidden, shape.neurons)
        self.ffn_out = nn.Linear(shape.neurons, hidden)
        self.ffn_norm = nn.LayerNorm(hidden, eps=norm_eps)

    def forward(self, hidden: Tensor, mask: Tensor, kept: Kept, head_gate: Tensor | None) -> Tensor:
        """Run the kept part of the layer: (batch, tokens, hidden) -> (batch, tokens, hidden).

        `mask`: (batch, 1, 1, tokens), true for real tokens.
        """
        attended = self._attention(hidden, mask, kept.heads, head_gate)
        hidden = self.attention_norm(hidden + self._drop(attended))
        # (batch, tokens, hidden) -> (batch, tokens, kept neurons) -> (batch, tokens, hidden)
        inner = F.gelu(F.linear(hidden, self.ffn_in.weight[: kept.neurons], self.ffn_in.bias[: kept.neurons]))
        outer = F.linear(inner, self.ffn_out.weight[:, : kept.neurons], self.ffn_out.bias)
        normed: Tensor = self.ffn_norm(hidden + self._drop(outer))
        return normed

    def _attention(self, hidden: Tensor, mask: Tensor, heads: int, head_gate: Tensor | None) -> Tensor:
        inner = heads * self.head_size

        def split(linear: nn.Linear) -> Tensor:  # (batch, tokens, hidden) -> (batch, heads, tokens, head_size)
            projected = F.linear(hidden, linear.weight[:inner], linear.bias[:inner])  # (batch, tokens, inner)
            return projected.view(*projected.shape[:2], heads, self.head_size).transpose(1, 2)

        dropout = self.dropout.attention if self.training else 0.0
        context = attend(split(self.query), split(self.key), split(self.value), mask, dropout)
        if head_gate is not None:
            context = context * head_gate[:heads, None, None]
        merged = context.transpose(1, 2).flatten(2)  # (batch, heads, tokens, head_size) -> (batch, tokens, inner)
        return F.linear(merged, self.attention_output.weight[:, :inner], self.attention_output.bias)

    def _drop(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.dropout.hidden, self.training)


class TaskModel(nn.Module, ABC):
    """Model with a task head over its last states; for tasks in POOLED, BERT's pooler and a linear classifier."""

    shape: Shape[Any]
    """Sizes shared by all of its subnets."""

    def __init__(self, *, head: Head | None, dropout: Dropout | None, norm_eps: float) -> None:
        super().__init__()
        self.norm_eps = norm_eps
        self.head = head or Head()
        self.dropout = dropout or Dropout()

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    @property
    def outputs(self) -> int:
        """Number of outputs of the classifier; 0 without one."""
        return int(self.classifier.out_features) if self.head.task != "embedding" else 0

    @abstractmethod
    def resized(self, **sizes: int) -> Self:
        """Return a model with random weights whose shape differs in these sizes."""

    def add_head(self, hidden: int, labels: int) -> None:
        """Create the weights of the head for states of width `hidden`; called once, after all other weights."""
        if self.head.task in POOLED:
            self.pooler = nn.Linear(hidden, hidden)
        if self.head.task == "embedding":
            self.steps = nn.ModuleList(step.module() for step in self.head.steps)
        else:
            self.classifier = nn.Linear(hidden, labels)

    def answer(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Compute the answer of the head from the last states (batch, tokens, hidden) and the mask (batch, tokens)."""
        if self.head.task == "embedding":
            vectors = Pooling(self.head.poolings, self.head.skipped)(hidden, mask)
            for step in self.steps:
                vectors = step(vectors)
            return vectors
        if self.head.task in POOLED:
            hidden = ACTIVATIONS[self.head.activation](self.pooler(hidden[:, 0]))  # (batch, hidden)
        answer: Tensor = self.classifier(F.dropout(hidden, self.dropout.hidden, self.training))
        return answer


class ElasticClassifier(TaskModel):
    """Elastic encoder with a task head."""

    shape: EncoderShape

    def __init__(
        self,
        shape: EncoderShape,
        labels: int,
        *,
        head: Head | None = None,
        dropout: Dropout | None = None,
        norm_eps: float = 1e-12,
        heads: Sequence[int] | None = None,
    ) -> None:
        """Make a model with random weights; `heads`: number of heads that each layer has, all unless given."""
        super().__init__(head=head, dropout=dropout, norm_eps=norm_eps)
        self.shape = shape
        self.heads = tuple(heads or (shape.heads,) * shape.layers)
        self.embeddings = Embeddings(
            vocabulary=shape.vocabulary,
            positions=shape.positions,
            types=shape.types,
            width=shape.embedding or shape.hidden,
            hidden=shape.hidden,
            norm_eps=norm_eps,
        )
        self.layers = nn.ModuleList(ElasticLayer(shape, self.dropout, norm_eps) for _ in range(shape.layers))
        self.add_head(shape.hidden, labels)

    def resized(self, **sizes: int) -> ElasticClassifier:
        """Return a model with random weights whose shape differs in these sizes."""
        made: dict[str, Any] = {
            "head": self.head, "dropout": self.dropout, "norm_eps": self.norm_eps, "heads": self.heads,
        }  # fmt: skip
        return ElasticClassifier(replace(self.shape, **sizes), self.outputs, **made)

    @property
    def full(self) -> Subnet:
        """Full subnet: all heads and neurons of all layers."""
        return Subnet(tuple((heads, self.shape.neurons) for heads in self.heads))

    def clipped(self, layers: tuple[tuple[int, int], ...], first: int = 0) -> tuple[tuple[int, int], ...]:
        """Return layers, the first of which is layer `first`, without the heads that this model does not have."""
        kept = self.heads[first : first + len(layers)]
        return tuple((min(heads, own), neurons) for (heads, neurons), own in zip(layers, kept, strict=True))

    def grid(self, widths: tuple[float, ...] = WIDTHS, depths: tuple[float, ...] = DEPTHS) -> dict[str, Subnet]:
        """Return name -> subnet for every width x depth, largest first, without heads that are not there."""
        named = uniform_grid(self.shape, widths, depths).items()
        return {name: Subnet(self.clipped(subnet.layers)) for name, subnet in named}

    def forward(self, batch: Batch, subnet: Subnet, head_gates: Tensor | None = None) -> Output:
        """Compute the logits and hidden states of a subnet.

        `head_gates`: factors of each head's output, shape (layers, heads).
        """
        drop = self.dropout.hidden
        hidden = F.dropout(self.embeddings(batch.input_ids, batch.token_type_ids), drop, self.training)
        mask = batch.attention_mask.bool()[:, None, None, :]  # (batch, tokens) -> (batch, 1, 1, tokens)
        states = [hidden]
        for kept in subnet.kept():
            gate = None if head_gates is None else head_gates[kept.layer]
            hidden = self.layers[kept.layer](hidden, mask, kept, gate)
            states.append(hidden)
        return Output(self.answer(hidden, batch.attention_mask), tuple(states))
