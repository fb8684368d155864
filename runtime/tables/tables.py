"""Block tables: what every option of every stage costs, and which subnet is best under constraints.

The loss of an option is measured with only its stage changed; that of a subnet is taken as the sum over its stages,
like its parameters, multiply-accumulates and bytes (NAS-BERT, section 3.4), and with a device its latency (`latency`).
Of elastic layers a loss is the increase of the distillation loss over that of the full subnet. Of a search's blocks it
is the mean squared error over the variance of the teacher's states, with the teacher's states before the block: 1 is
that of the best constant. `tables_file` has them on disk.
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
    """One option of one stage, or what all subnets have in common."""

    loss: float
    parameters: int
    macs: int
    """Multiply-accumulates for a text of `Tables.macs_tokens` tokens."""
    bytes: Mapping[str, int]
    """Precision -> bytes of its weights."""

    def __post_init__(self) -> None:
        if not is_cost(self.loss) or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in self._whole()):
            raise InputError(f"block table: a row that is not usable: {vars(self)!r}")

    def _whole(self) -> tuple[object, ...]:
        return (self.parameters, self.macs, *self.bytes.values())


@dataclass(frozen=True)
class Estimate(Generic[L]):
    """A subnet and the sums of its rows."""

    subnet: Subnet[L]
    choice: Choice
    """An option of each stage of the tables' space."""
    loss: float
    parameters: int
    macs: int
    bytes: int
    latency_ms: float | None
    """For a text of the length asked for; None without a device."""


@dataclass(frozen=True)
class Tables(Generic[L, S]):
    """The rows of a space; raises InputError where they are not those of the space."""

    supernet: str
    """sha256 of the weights that the losses were measured with."""
    space: Space[L, S]
    full_loss: float
    """Loss of the subnet that keeps all, where losses are increases; else 0."""
    rows: tuple[tuple[Row, ...], ...]
    macs_tokens: int
    loss_rows: int
    """Held-out rows behind the losses; of blocks held-out tokens."""
    date: str

    def __post_init__(self) -> None:
        found, expected = [len(rows) for rows in self.rows], [len(stage.options) for stage in self.space.stages]
        if found != expected:
            raise InputError(f"block tables: expected {expected} rows, one for each option, found {found}")

    @property
    def fixed(self) -> Row:
        """Costs of the embeddings, with the full subnet's loss."""
        shape = self.space.shape
        stored = {name: shape.embedding_bytes(name) for name in PRECISIONS}
        return Row(self.full_loss, shape.embedding_parameters, 0, stored)

    def with_embeddings(self, shape: S) -> Tables[L, S]:
        """The tables of the same net with other embeddings, such as those of fewer words."""
        return replace(self, space=replace(self.space, shape=shape))

    def thinned(self, options: Sequence[Sequence[int]]) -> Tables[L, S]:
        """The tables of only these options of each stage."""
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
        """The sums of a choice; latency, and bytes of a precision, as `limits` ask for them. The rest as for `best`."""
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
        """The summed loss; raises UnknownSubnetError for a subnet that is not in the space."""
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
        """The `count` subnets of least summed loss within the limits, best first; fewer where there are no more.

        `shape`: of a subnet that stands alone, by which it is counted (`Shape.alone` unless given). `first_only`: the
        latency is that of subnets that answer from their first token alone. Exact; the skipping of all layers is no
        subnet. Raises InputError where a latency is asked for and no device is given, and, with the nearest that can be
        met, where no subnet is within the limits; ProfileError for latencies of another make of net.
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"count: expected a whole number of at least 1, got {count!r}")
        asked = [name for name in COSTS if getattr(limits, name) is not None]
        if "latency_ms" in asked and latency is None:
            raise InputError("latency_ms: expected the latencies of a device beside it; fit them, or drop the limit")
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
    """The tables of a space from the loss of each stage x option; all else follows from the parts."""
    rows = tuple(
        tuple(
            _row(loss, [part for layer in option.layers for part in space.shape.layer_parts(layer)], macs_tokens)
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
