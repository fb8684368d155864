"""Elastic encoder: a BERT-class model that can run any of its subnets.

1. BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805): the encoder, its pooler and classifier.
2. DynaBERT (Hou et al. 2020, https://arxiv.org/abs/2004.04037): elastic widths and depths, section 2.

Heads and neurons are sorted by importance, so that a subnet is a prefix of every weight matrix. The subnet is an
argument of `forward`, and the model stores nothing about it: one model can run different subnets in turn, and threads
can share it. Its form (positions, norms, activation ...) is that of its `EncoderShape`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.runtime.bundle.tasks import MULTI_TASK
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.subnet import Shape, Subnet
from gearshift.runtime.space.uniform import DEPTHS, WIDTHS, uniform_grid
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.model.embedding_head import Normalize, Pooling, Step
from gearshift.trainer.model.encoder.activations import ACTIVATIONS
from gearshift.trainer.model.encoder.embeddings import Embeddings
from gearshift.trainer.model.encoder.layer import Dropout, ElasticLayer
from gearshift.trainer.model.encoder.positions import views

HEADS = "task_heads."
"""Prefix of the parameter names of several heads: behind it stands the place of the head."""

HEAD = ("pooler.", "pooler_norm.", "classifier.", HEADS)
"""Prefixes of the task head's parameter names."""

POOLED = ("classification", "multi-label-classification", "regression")
"""Tasks that are answered from one vector of the text, through the pooler."""


@dataclass(frozen=True)
class Head:
    """Task head: the step from the states of the last layer to the answer."""

    task: str = "classification"
    """Name of the task, one of `tasks.TASKS`, or MULTI_TASK."""
    activation: str = "tanh"
    """Activation of the pooler, one of `activations.ACTIVATIONS`."""
    prediction: bool = False
    """Whether the pooler is ModernBERT's prediction head: without biases, with a norm behind it, and for every task
    but an embedding, token by token if the task answers so."""
    pooling: str = "first"
    """Pooling of an embedding, or of a task in POOLED: one or several of `embedding_head.POOLINGS` with `+` between
    them."""
    steps: tuple[Step, ...] = (Normalize(),)
    """Steps of an embedding behind its pooling."""
    skipped: int = 0
    """Number of tokens at the start of each text, those of its prompt, that the pooling leaves out."""
    parts: tuple[HeadPart, ...] = ()
    """Heads of a model for MULTI_TASK, in the order of its answers."""

    @property
    def pools(self) -> bool:
        """Whether a pooler leads to the classifier."""
        return self.task in POOLED or (self.prediction and self.task not in ("embedding", MULTI_TASK))

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
class HeadPart:
    """One of several heads."""

    name: str
    head: Head
    outputs: int
    """Number of outputs of its classifier."""


@dataclass(frozen=True)
class Output:
    """Results of a forward pass."""

    logits: Any
    """Answer, a tensor of shape (batch, labels); per token (batch, tokens, labels); for an embedding (batch, width). Of
    several heads a tuple with the answer of each."""
    hidden: tuple[Tensor, ...]
    """Embeddings, then the output of every kept layer, each of shape (batch, tokens, hidden), without a norm that
    follows the last one."""


HEAD_PARTS = ("pooler", "pooler_norm", "steps", "classifier", HEADS.rstrip("."))
"""Names of the modules that `add_head` makes."""


class TaskHead(nn.Module):
    """Task head; for tasks in POOLED, a pooler and a linear classifier."""

    def __init__(self, *, head: Head | None, dropout: Dropout | None, norm_eps: float) -> None:
        super().__init__()
        self.norm_eps = norm_eps
        self.head = head or Head()
        self.dropout = dropout or Dropout()

    @property
    def outputs(self) -> int:
        """Number of outputs of the classifier; 0 without one."""
        return int(self.classifier.out_features) if self.head.task not in ("embedding", MULTI_TASK) else 0

    def add_head(self, hidden: int, labels: int) -> None:
        """Create the weights of the head for states of width `hidden`; called once, after all other weights."""
        if self.head.parts:
            self.task_heads = nn.ModuleList(self._part(part, hidden) for part in self.head.parts)
            return
        if self.head.pools:
            self.pooler = nn.Linear(hidden, hidden, bias=not self.head.prediction)
        if self.head.pools and self.head.prediction:
            self.pooler_norm = nn.LayerNorm(hidden, eps=self.norm_eps, bias=False)
        if self.head.task == "embedding":
            self.steps = nn.ModuleList(step.module() for step in self.head.steps)
        else:
            self.classifier = nn.Linear(hidden, labels)

    def _part(self, part: HeadPart, hidden: int) -> TaskHead:
        made = TaskHead(head=part.head, dropout=self.dropout, norm_eps=self.norm_eps)
        made.add_head(hidden, part.outputs)
        return made

    def answer(self, hidden: Tensor, mask: Tensor) -> Any:
        """Compute the answer of the head from the last states (batch, tokens, hidden) and the mask (batch, tokens); of
        several heads a tuple with that of each."""
        if self.head.parts:
            return tuple(cast(TaskHead, head).answer(hidden, mask) for head in self.task_heads)
        if self.head.task == "embedding":
            vectors = Pooling(self.head.poolings, self.head.skipped)(hidden, mask)
            for step in self.steps:
                vectors = step(vectors)
            return vectors
        if self.head.task in POOLED:
            hidden = Pooling(self.head.poolings)(hidden, mask)  # (batch, hidden)
        if self.head.pools:
            hidden = ACTIVATIONS[self.head.activation](self.pooler(hidden))
        if self.head.pools and self.head.prediction:
            hidden = self.pooler_norm(hidden)
        return self.classifier(F.dropout(hidden, self.dropout.hidden, self.training))


class TaskModel(TaskHead, ABC):
    """Model with a task head over its last states."""

    shape: Shape[Any]
    """Sizes shared by all of its subnets."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    @abstractmethod
    def resized(self, **sizes: int) -> Self:
        """Return a model with random weights whose shape differs in these sizes."""


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
            positions=shape.position_rows,
            types=shape.types,
            width=shape.embedding_width,
            hidden=shape.hidden,
            norm_eps=norm_eps,
            bias=shape.biases,
            projected_first=shape.projected_first,
        )
        self.relative = nn.Embedding(shape.relative_buckets, shape.heads) if shape.relative_buckets else None
        vectors = 2 * shape.position_buckets
        self.position_table = nn.Embedding(vectors, shape.hidden) if vectors else None
        self.position_norm = nn.LayerNorm(shape.hidden, eps=norm_eps, bias=shape.biases) if vectors else None
        self.layers = nn.ModuleList(ElasticLayer(shape, place, self.dropout, norm_eps) for place in range(shape.sets))
        self.final_norm = nn.LayerNorm(shape.hidden, eps=norm_eps, bias=shape.biases) if shape.norm_first else None
        self.add_head(shape.hidden, labels)

    def resized(self, **sizes: int) -> ElasticClassifier:
        """Return a model with random weights whose shape differs in these sizes."""
        made: dict[str, Any] = {
            "head": self.head, "dropout": self.dropout, "norm_eps": self.norm_eps, "heads": self.heads,
        }  # fmt: skip
        changes: dict[str, Any] = dict(sizes)
        return ElasticClassifier(replace(self.shape, **changes), self.outputs, **made)

    @property
    def full(self) -> Subnet:
        """Full subnet: all heads and neurons of all layers."""
        return Subnet(tuple((heads, self.shape.neurons) for heads in self.heads))

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the weights of all but the head, by name; they are those of the model, not copies."""
        return {name: value for name, value in self.state_dict().items() if name.partition(".")[0] not in HEAD_PARTS}

    def head_state(self) -> dict[str, Tensor]:
        """Return the weights of the head, or of all heads, by name; they are those of the model, not copies."""
        return {name: value for name, value in self.state_dict().items() if name.partition(".")[0] in HEAD_PARTS}

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

        `head_gates`: factors of each head's output, shape (sets of weights, heads).
        """
        drop = self.dropout.hidden
        hidden = F.dropout(self.embeddings(batch.input_ids, batch.token_type_ids), drop, self.training)
        seen = views(self.shape, self.relative, self._position_vectors(), batch.attention_mask)
        states = [hidden]
        for kept in subnet.kept():
            weights = self.shape.weights_of(kept.layer)
            gate = None if head_gates is None else head_gates[weights]
            hidden = self.layers[weights](hidden, seen[kept.layer], kept, gate)
            states.append(hidden)
        if self.final_norm is not None:
            hidden = self.final_norm(hidden)
        return Output(self.answer(hidden, batch.attention_mask), tuple(states))

    def _position_vectors(self) -> Tensor | None:
        """Compute the vectors of relative positions, (2 x buckets, hidden); None without."""
        if self.position_table is None or self.position_norm is None:
            return None
        return F.dropout(self.position_norm(self.position_table.weight), self.dropout.hidden, self.training)
