"""Block tables: loss and costs of every option of every stage, and the best subnets under limits.

The loss of an option is measured with only its stage changed. The loss of a subnet is taken as the sum over its stages,
like its parameters, MACs and bytes (NAS-BERT, section 3.4), and its latency on a device (`latency`).

Loss of elastic layers: increase of the distillation loss over that of the full subnet.
Loss of a block of a search: mean squared error / variance of the teacher's states, where the block's input is the
teacher's states; the best constant has a loss of 1.

`tables_file` reads and writes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from gearshift.errors import InputError
from gearshift.runtime.bundle.manifest import PRECISIONS
from gearshift.runtime.space.parts import Part, projection_part
from gearshift.runtime.space.space import Choice, S, Space
from gearshift.runtime.space.subnet import L, Shape, Subnet
from gearshift.runtime.tables.latency import LatencyPredictor
from gearshift.runtime.tables.limits import COSTS, Limits, allow, is_cost, told
from gearshift.runtime.tables.look_up import LookUp


@dataclass(frozen=True)
class Row:
    """Loss and costs of one option of one stage, or those shared by all subnets."""

    loss: float
    parameters: int
    macs: int
    """MACs for a text of `Tables.macs_tokens` tokens."""
    bytes: Mapping[str, int]
    """Precision -> bytes of the weights."""

    def __post_init__(self) -> None:
        if not is_cost(self.loss) or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in self._whole()):
            raise InputError(
                f"block table: expected a row with a finite loss and whole numbers of 0 or more, got {vars(self)!r}"
            )

    def _whole(self) -> tuple[object, ...]:
        return (self.parameters, self.macs, *self.bytes.values())


@dataclass(frozen=True)
class Estimate(Generic[L]):
    """Estimated loss and costs of a subnet: the sums of its rows."""

    subnet: Subnet[L]
    choice: Choice
    """Option index of each stage of the tables' space."""
    loss: float
    parameters: int
    macs: int
    bytes: int
    latency_ms: float | None
    """Predicted latency for a text of `Limits.length` tokens; None without a latency predictor."""


@dataclass(frozen=True)
class Tables(Generic[L, S]):
    """Block tables of a space: one row per option. Raises InputError if the rows do not match the space."""

    supernet: str
    """SHA-256 of the weights that the losses were measured with."""
    space: Space[L, S]
    full_loss: float
    """Loss of the full subnet if the losses are increases over it; else 0."""
    rows: tuple[tuple[Row, ...], ...]
    macs_tokens: int
    """Length in tokens of the text that MACs are counted for."""
    loss_rows: int
    """Number of held-out rows (for blocks: tokens) that the losses were measured on."""
    date: str

    def __post_init__(self) -> None:
        found, expected = [len(rows) for rows in self.rows], [len(stage.options) for stage in self.space.stages]
        if found != expected:
            raise InputError(f"block tables: expected {expected} rows, one for each option, found {found}")

    @property
    def fixed(self) -> Row:
        """Costs of the embeddings, and the loss of the full subnet."""
        shape = self.space.shape
        stored = {name: shape.embedding_bytes(name) for name in PRECISIONS}
        return Row(self.full_loss, shape.embedding_parameters, 0, stored)

    def with_embeddings(self, shape: S) -> Tables[L, S]:
        """Return the tables with the embeddings of another shape, such as those of a smaller vocabulary."""
        return replace(self, space=replace(self.space, shape=shape))

    def thinned(self, options: Sequence[Sequence[int]]) -> Tables[L, S]:
        """Return the tables with only these options of each stage."""
        rows = (tuple(of[number] for number in numbers) for of, numbers in zip(self.rows, options, strict=True))
        return replace(self, space=self.space.thinned(options), rows=tuple(rows))

    def estimate(
        self,
        choice: Choice,
        limits: Limits | None = None,
        latency: LatencyPredictor[L] | None = None,
        *,
        shape: Shape[L] | None = None,
        first_only: bool = False,
    ) -> Estimate[L]:
        """Return the sums of a choice.

        `limits` gives the precision of the bytes and the length of the latency; the other arguments are as for `best`.
        """
        limits, shape = limits or Limits(), shape or self.space.shape.alone()
        subnet, precision = self.space.subnet(choice), limits.precision
        rows = [rows[option] for rows, option in zip(self.rows, choice, strict=True)]
        between = [projection_part(*pair) for pair in shape.joints(subnet.widths(shape))]
        return Estimate(
            subnet,
            choice,
            math.fsum((self.full_loss, *(row.loss for row in rows))),
            shape.embedding_parameters + sum(row.parameters for row in rows) + sum(part.parameters for part in between),
            sum(row.macs for row in rows) + sum(part.macs(self.macs_tokens) for part in between),
            shape.embedding_bytes(precision)
            + sum(row.bytes[precision] for row in rows)
            + sum(part.bytes(precision) for part in between),
            None if latency is None else latency.predict(subnet, limits.length, shape=shape, first_only=first_only),
        )

    def loss(self, subnet: Subnet[L]) -> float:
        """Return the summed loss of a subnet; raises UnknownSubnetError if it is not in the space."""
        return self.estimate(self.space.choice(subnet)).loss

    def best(
        self,
        limits: Limits,
        latency: LatencyPredictor[L] | None = None,
        *,
        count: int = 1,
        shape: Shape[L] | None = None,
        first_only: bool = False,
    ) -> list[Estimate[L]]:
        """Return the `count` subnets of least summed loss within the limits, best first; fewer if there are no more.

        The result is exact. A choice that skips all layers is no subnet.
        `shape`: shape of a standalone subnet, which its costs are counted by; default: `Shape.alone`.
        `first_only`: predict the latency of subnets that answer from their first token alone.
        Raises InputError for a latency limit without a predictor, and if no subnet is within the limits, with the
        nearest that can be met; ProfileError if the predictor was fitted to other layers.
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"count: expected a whole number of at least 1, got {count!r}")
        asked = [name for name in COSTS if getattr(limits, name) is not None]
        if "latency_ms" in asked and latency is None:
            raise InputError("latency_ms: expected a latency predictor with it, got none; fit one, or drop the limit")
        if latency is not None:
            latency.require(self.space.shape)
        shape = shape or self.space.shape.alone()
        search = LookUp(self, limits, asked, latency, shape, first_only)
        also: dict[str, Any] = {"shape": shape, "first_only": first_only}
        found = [self.estimate(choice, limits, latency, **also) for choice in search.best(count)]
        if not found:
            close = self.estimate(search.nearest(), limits, latency, **also)
            raise InputError(f"no subnet is within {told(limits, asked)}; {allow(close, asked)}")
        return found


def make_tables(
    space: Space[L, S],
    losses: Sequence[Sequence[float]],
    *,
    supernet: str,
    macs_tokens: int,
    loss_rows: int,
    date: str,
    full_loss: float = 0.0,
) -> Tables[L, S]:
    """Return the tables of a space from the loss of each option of each stage; costs follow from the parts."""
    rows = tuple(
        tuple(
            _row(
                loss,
                [
                    part
                    for place, layer in enumerate(option.layers, start=stage.first)
                    for part in space.shape.layer_parts(layer, place)
                ],
                macs_tokens,
            )
            for option, loss in zip(stage.options, of_stage, strict=True)
        )
        for stage, of_stage in zip(space.stages, losses, strict=True)
    )
    return Tables(supernet, space, full_loss, rows, macs_tokens, loss_rows, date)


def _row(loss: float, parts: Sequence[Part], macs_tokens: int) -> Row:
    return Row(
        loss,
        sum(part.parameters for part in parts),
        sum(part.macs(macs_tokens) for part in parts),
        {name: sum(part.bytes(name) for part in parts) for name in PRECISIONS},
    )
