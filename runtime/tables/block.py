"""Block tables: what every option of every stage costs, and which subnet is best under constraints.

The loss increase of an option is measured with only its stage changed; that of a subnet is taken as the sum over its
stages, like its parameters, multiply-accumulates and bytes (NAS-BERT, section 3.4). With a device also the latency
(`block_latency`). `tables.json`:

    schema_version   1
    supernet         sha256 of the weights that the losses were measured on (model.safetensors of the run)
    space            shape and stages as in a manifest; not the space of the graph, which is cut for the pool
    fixed            of the subnet that keeps all: its own loss; of embeddings alone: parameters, bytes by precision
    rows             for each stage, for each option: loss (increase), parameters, macs, bytes by precision
    macs_tokens      tokens of the text that macs are counted for
    loss_rows        held-out rows behind the losses
    date             when, in ISO 8601
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.errors import InputError, SchemaError
from gearshift.runtime.bundle.manifest import PRECISIONS
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.space.elastic import Space, Stage, Subnet
from gearshift.runtime.space.shape import (
    EncoderShape,
    embedding_bytes,
    embedding_parameters,
    layer_bytes,
    layer_macs,
    layer_parameters,
)
from gearshift.runtime.tables.knapsack import Choice, Problem, best_choices, nearest
from gearshift.runtime.tables.layer_latency import BlockLatency
from gearshift.runtime.tables.limits import COSTS, Limits, allow, is_cost, told
from gearshift.schema import Schema

SCHEMA = Schema(version=1, advice="search again", missing="run `gearshift search`")


TABLES = "tables.json"


@dataclass(frozen=True)
class BlockRow:
    """One option of one stage, or what all subnets have in common."""

    loss: float
    """How much the held-out distillation loss rises with this option alone; of what is fixed, the full subnet's."""
    parameters: int
    macs: int
    """Multiply-accumulates for a text of `BlockTables.macs_tokens` tokens."""
    bytes: Mapping[str, int]
    """Precision -> bytes of its weights."""

    def __post_init__(self) -> None:
        if not is_cost(self.loss) or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in self._whole()):
            raise InputError(f"block table: a row that is not usable: {vars(self)!r}")

    def _whole(self) -> tuple[object, ...]:
        return (self.parameters, self.macs, *self.bytes.values())


@dataclass(frozen=True)
class Estimate:
    """A subnet and the sums of its rows."""

    subnet: Subnet
    choice: Choice
    """An option of each stage of the tables' space."""
    loss: float
    parameters: int
    macs: int
    bytes: int
    latency_ms: float | None
    """For a text of the length asked for; None without a device."""


@dataclass(frozen=True)
class BlockTables:
    """The rows of a supernet; raises InputError where they are not those of the space."""

    supernet: str
    space: Space
    fixed: BlockRow
    rows: tuple[tuple[BlockRow, ...], ...]
    macs_tokens: int
    loss_rows: int
    date: str

    def __post_init__(self) -> None:
        found, expected = [len(rows) for rows in self.rows], [len(stage.options) for stage in self.space.stages]
        if found != expected:
            raise InputError(f"block tables: expected {expected} rows, one for each option, found {found}")

    def with_embeddings(self, shape: EncoderShape) -> BlockTables:
        """The tables of the same net with other embeddings, such as those of fewer words."""
        return replace(
            self,
            space=replace(self.space, shape=shape),
            fixed=_embeddings(self.fixed.loss, shape),
        )

    def estimate(self, choice: Choice, limits: Limits | None = None, latency: BlockLatency | None = None) -> Estimate:
        """The sums of a choice; latency, and bytes of a precision, as `limits` ask for them."""
        limits = limits or Limits()
        subnet = self.space.subnet(choice)
        rows = [self.fixed, *(rows[option] for rows, option in zip(self.rows, choice, strict=True))]
        return Estimate(
            subnet,
            choice,
            math.fsum(row.loss for row in rows),
            sum(row.parameters for row in rows),
            sum(row.macs for row in rows),
            sum(row.bytes[limits.precision] for row in rows),
            None if latency is None else latency.predict(subnet, limits.length),
        )

    def loss(self, subnet: Subnet) -> float:
        """The summed loss; raises UnknownSubnetError for a subnet that is not in the space."""
        return self.estimate(self.space.choice(subnet)).loss

    def best(self, limits: Limits, latency: BlockLatency | None = None, *, count: int = 1) -> list[Estimate]:
        """The `count` subnets of least summed loss within the limits, best first; fewer where there are no more.

        Exact; the skipping of all layers is no subnet. Raises InputError where a latency is asked for and no device
        is given, and, with the nearest that can be met, where no subnet is within the limits.
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"count: expected a whole number of at least 1, got {count!r}")
        asked = [name for name in COSTS if getattr(limits, name) is not None]
        if "latency_ms" in asked and latency is None:
            raise InputError("latency_ms: expected the latencies of a device beside it; fit them, or drop the limit")
        problem = self._problem(limits, asked, latency)
        found = [self.estimate(choice, limits, latency) for choice in best_choices(problem, count)]
        if not found:
            fixed = np.array([getattr(limits, name) for name in asked]) - problem.limits[: len(asked)]
            whole = problem.with_fixed(np.append(fixed, np.zeros(len(problem.limits) - len(asked))))
            close = self.estimate(nearest(whole), limits, latency)
            raise InputError(f"no subnet is within {told(limits, asked)}; {allow(close, asked)}")
        return found

    def _problem(self, limits: Limits, asked: list[str], latency: BlockLatency | None) -> Problem:
        fixed = {
            "parameters": self.fixed.parameters,
            "bytes": self.fixed.bytes[limits.precision],
            "macs": self.fixed.macs,
            "latency_ms": 0.0 if latency is None else latency.fixed(limits.length),
        }
        room = [getattr(limits, name) - fixed[name] for name in asked]
        all_skip = all(any(option.skips for option in stage.options) for stage in self.space.stages)
        costs = []
        for stage, rows in zip(self.space.stages, self.rows, strict=True):
            columns = [self._column(name, stage, rows, limits, latency) for name in asked]
            if all_skip:  # minus the stages that run is at most -1
                columns.append([-float(not option.skips) for option in stage.options])
            costs.append(np.array(columns).reshape(len(columns), len(rows)).T)
        losses = tuple(np.array([row.loss for row in rows]) for rows in self.rows)
        return Problem(losses, tuple(costs), np.array([*room, *([-1.0] if all_skip else [])], float))

    def _column(
        self,
        name: str,
        stage: Stage,
        rows: tuple[BlockRow, ...],
        limits: Limits,
        latency: BlockLatency | None,
    ) -> list[float]:
        if name == "latency_ms":
            assert latency is not None
            shape, length = self.space.shape, limits.length
            return [latency.part(option.layers, length, shape, first=stage.first) for option in stage.options]
        if name == "bytes":
            return [float(row.bytes[limits.precision]) for row in rows]
        return [float(getattr(row, name)) for row in rows]

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return {
            "schema_version": SCHEMA.version,
            **vars(self),
            "space": self.space.to_dict(),
            "fixed": _plain(self.fixed),
            "rows": [[_plain(row) for row in rows] for rows in self.rows],
        }

    @classmethod
    def from_fields(cls, raw: Mapping[str, Any]) -> BlockTables:
        """Make the tables of the fields that `to_dict` wrote, but for the version."""
        given = dict(raw)
        given["space"] = Space.from_dict(given["space"])
        given["fixed"] = BlockRow(**given["fixed"])
        given["rows"] = tuple(tuple(BlockRow(**row) for row in rows) for rows in given["rows"])
        return cls(**given)


def make_tables(
    space: Space,
    losses: list[list[float]],
    *,
    full_loss: float,
    supernet: str,
    macs_tokens: int,
    loss_rows: int,
    date: str,
) -> BlockTables:
    """The tables of a space from the loss of each stage x option; all else follows from the sizes."""
    shape = space.shape
    rows = tuple(
        tuple(
            BlockRow(
                loss,
                sum(layer_parameters(shape, *layer) for layer in option.layers),
                sum(layer_macs(shape, *layer, macs_tokens) for layer in option.layers),
                {name: sum(layer_bytes(shape, *layer, name) for layer in option.layers) for name in PRECISIONS},
            )
            for option, loss in zip(stage.options, of_stage, strict=True)
        )
        for stage, of_stage in zip(space.stages, losses, strict=True)
    )
    return BlockTables(supernet, space, _embeddings(full_loss, shape), rows, macs_tokens, loss_rows, date)


def _embeddings(full_loss: float, shape: EncoderShape) -> BlockRow:
    """What all subnets have in common."""
    stored = {name: embedding_bytes(shape, name) for name in PRECISIONS}
    return BlockRow(full_loss, embedding_parameters(shape), 0, stored)


def save_tables(path: Path, tables: BlockTables) -> None:
    """Write tables whole or not at all; raises StorageError."""
    replace_file(path, (json.dumps(tables.to_dict(), indent=1, allow_nan=False) + "\n").encode())


def load_tables(path: Path, *, shape: EncoderShape | None = None, supernet: str | None = None) -> BlockTables:
    """Read tables from a file; raises SchemaError, which names the file.

    `shape`, `supernet`: of the net that they are to be used with; those of another are refused. Only the embeddings
    may be others, such as those of fewer words: what they cost is that of `shape`.
    """
    tables = SCHEMA.read(path, BlockTables.from_fields)
    if shape is not None and (differences := shape.layer_differences(tables.space.shape)):
        raise SchemaError(f"{path}: the tables of another space: expected {differences}; search again")
    if supernet is not None and tables.supernet != supernet:
        raise SchemaError(
            f"{path}: the tables of another supernet: expected weights {supernet[:12]}, "
            f"found {tables.supernet[:12]}; search again"
        )
    return tables if shape in (None, tables.space.shape) else tables.with_embeddings(shape)


def _plain(row: BlockRow) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}
