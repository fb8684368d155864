"""Block tables of a search of mixed operations: what its blocks lose and cost, and the best net under constraints.

The loss of a block is measured with the teacher's states before it; that of a net is taken as the sum over its blocks
(NAS-BERT, section 3.4). `tables.json`:

    schema_version   1
    kind             mixed
    supernet         sha256 of the shared weights that the losses were measured with (model.safetensors beside it)
    shape            sizes that all blocks have in common, with the teacher's width as `bridge`
    rows             for each stage, for each block: hidden, operations, loss, parameters, macs
    macs_tokens      tokens of the text that macs are counted for
    loss_tokens      held-out tokens behind the losses
    date             when, in ISO 8601

A loss is the mean squared error over the variance of what the teacher gives: 1 is that of the best constant.
Parameters and macs are of a block's operations; what leads from one block to the next depends on both, and is added
where a net is put together. Latencies come from `operation_latency`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.errors import InputError, SchemaError
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.space.mixed import (
    KIND,
    Block,
    MixedShape,
    MixedSubnet,
    block_parts,
    projection_part,
    table_bytes,
)
from gearshift.runtime.space.mixed import table_parameters as tables_of
from gearshift.runtime.tables.knapsack import Choice, Problem, best_choices, nearest
from gearshift.runtime.tables.limits import COSTS, Limits, allow, told
from gearshift.runtime.tables.operation_latency import OperationLatency
from gearshift.schema import Schema

SCHEMA = Schema(version=1, advice="search again with `gearshift nas-search`", missing="search first")

Sizes = tuple[int, ...]
"""The hidden size of each stage's block."""


@dataclass(frozen=True)
class MixedRow:
    """A block that was searched."""

    block: Block
    loss: float

    def __post_init__(self) -> None:
        if not (isinstance(self.loss, float) and math.isfinite(self.loss) and self.loss >= 0):
            raise InputError(f"block table: loss of {self.block.name}: expected 0 or more, found {self.loss!r}")


@dataclass(frozen=True)
class MixedEstimate:
    """A net and the sums of its rows."""

    subnet: MixedSubnet
    choice: Choice
    """The row of each stage."""
    loss: float
    parameters: int
    macs: int
    bytes: int
    latency_ms: float | None
    """For a text of the length asked for; None without a device."""


@dataclass(frozen=True)
class MixedTables:
    """The rows of a search."""

    supernet: str
    shape: MixedShape
    rows: tuple[tuple[MixedRow, ...], ...]
    macs_tokens: int
    loss_tokens: int
    date: str

    def __post_init__(self) -> None:
        if not self.rows or not all(self.rows):
            raise InputError("block tables: expected stages with a block each at least")

    def net_shape(self, embedding: int | None = None) -> MixedShape:
        """The shape of a net of these blocks that stands alone, with embeddings of that width (the teacher's)."""
        return dataclasses.replace(self.shape, bridge=0, embedding=embedding or self.shape.embedding)

    def estimate(
        self,
        choice: Choice,
        limits: Limits | None = None,
        latency: OperationLatency | None = None,
        *,
        embedding: int | None = None,
        first_only: bool = False,
    ) -> MixedEstimate:
        """The sums of a choice, as a net that stands alone; `first_only`: see `best`."""
        limits, shape = limits or Limits(), self.net_shape(embedding)
        chosen = [rows[number] for rows, number in zip(self.rows, choice, strict=True)]
        subnet = MixedSubnet(tuple(row.block for row in chosen))
        return MixedEstimate(
            subnet,
            choice,
            math.fsum(row.loss for row in chosen),
            subnet.parameters(shape),
            subnet.macs(shape, self.macs_tokens),
            subnet.bytes(shape, limits.precision),
            None if latency is None else latency.predict(subnet, shape, limits.length, first_only=first_only),
        )

    def best(
        self,
        limits: Limits,
        latency: OperationLatency | None = None,
        *,
        embedding: int | None = None,
        count: int = 1,
        first_only: bool = False,
    ) -> list[MixedEstimate]:
        """The `count` nets of least summed loss within the limits, best first; fewer where there are no more.

        `first_only`: the latency is that of nets that answer from their first token alone (`operation_latency`).
        Exact. What leads from block to block depends on the hidden sizes alone, so each combination of them is a
        problem of sums; those whose least loss is no better than what was found are left out. Raises InputError
        where a latency is asked for and no device is given, and, with the nearest that can be met, where no net is
        within the limits; ProfileError for latencies of other operations.
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"count: expected a whole number of at least 1, got {count!r}")
        asked = [name for name in COSTS if getattr(limits, name) is not None]
        if "latency_ms" in asked and latency is None:
            raise InputError("latency_ms: expected the latencies of a device beside it; fit them, or drop the limit")
        if latency is not None:
            latency.require(self.shape)
        search = _Search(self, limits, asked, latency, self.net_shape(embedding), first_only)
        also: dict[str, Any] = {"embedding": embedding, "first_only": first_only}
        found = [self.estimate(choice, limits, latency, **also) for choice in search.best(count)]
        if not found:
            close = self.estimate(search.nearest(), limits, latency, **also)
            raise InputError(f"no net is within {told(limits, asked)}; {allow(close, asked)}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return {
            "schema_version": SCHEMA.version,
            "kind": KIND,
            **{name: value for name, value in vars(self).items() if name != "rows"},
            "shape": self.shape.to_dict(),
            "rows": [[self._plain(row) for row in rows] for rows in self.rows],
        }

    def _plain(self, row: MixedRow) -> dict[str, Any]:
        parts = block_parts(self.shape, row.block)
        return {
            **row.block.to_dict(),
            "loss": row.loss,
            "parameters": sum(part.parameters for part in parts),
            "macs": sum(part.macs(self.macs_tokens) for part in parts),
        }

    @classmethod
    def from_fields(cls, raw: Mapping[str, Any]) -> MixedTables:
        """Make the tables of the fields that `to_dict` wrote, but for the version; InputError for another kind."""
        kind = raw.get("kind", "elastic")
        if kind != KIND:
            raise InputError(f"expected tables of kind {KIND!r}, found {kind!r}")
        given = {key: value for key, value in raw.items() if key != "kind"}
        given["shape"] = MixedShape(**given["shape"])
        given["rows"] = tuple(
            tuple(MixedRow(Block.from_dict(row), float(row["loss"])) for row in rows) for rows in given["rows"]
        )
        return cls(**given)


def save_mixed_tables(path: Path, tables: MixedTables) -> None:
    """Write tables whole or not at all; raises StorageError."""
    replace_file(path, (json.dumps(tables.to_dict(), indent=1, allow_nan=False) + "\n").encode())


def load_mixed_tables(path: Path, *, supernet: str | None = None) -> MixedTables:
    """Read tables from a file; raises SchemaError, which names the file. Those of another `supernet` are refused."""
    tables = SCHEMA.read(path, MixedTables.from_fields)
    if supernet is not None and tables.supernet != supernet:
        raise SchemaError(
            f"{path}: the tables of another supernet: expected weights {supernet[:12]}, "
            f"found {tables.supernet[:12]}; search again"
        )
    return tables


class _Search:
    """One look-up: the rows of each stage by hidden size, and what they cost in the limits that are asked for."""

    def __init__(
        self,
        tables: MixedTables,
        limits: Limits,
        asked: list[str],
        latency: OperationLatency | None,
        shape: MixedShape,
        first_only: bool,
    ) -> None:
        self.tables, self.limits, self.asked, self.latency, self.shape = tables, limits, asked, latency, shape
        self.limit = np.array([float(getattr(limits, name)) for name in asked])
        self.numbers: list[dict[int, list[int]]] = []
        self.losses: list[dict[int, np.ndarray[Any, np.dtype[np.float64]]]] = []
        self.costs: list[dict[int, np.ndarray[Any, np.dtype[np.float64]]]] = []
        for stage, rows in enumerate(tables.rows, start=1):
            pooled = first_only and stage == len(tables.rows)
            sizes = sorted({row.block.hidden for row in rows})
            numbers = {size: [n for n, row in enumerate(rows) if row.block.hidden == size] for size in sizes}
            self.numbers.append(numbers)
            self.losses.append({size: np.array([rows[n].loss for n in numbers[size]]) for size in sizes})
            self.costs.append(
                {
                    size: np.array([[self._cost(name, rows[n].block, pooled) for name in asked] for n in numbers[size]])
                    for size in sizes
                }
            )

    def best(self, count: int) -> list[Choice]:
        """The choices of least loss, best first."""
        found: list[tuple[float, Choice]] = []
        for bound, sizes in self._combinations():
            if len(found) >= count and bound >= found[count - 1][0]:
                break
            problem = self._problem(sizes)
            for choice in best_choices(problem, count):
                found.append((problem.totals(choice)[0], self._rows(sizes, choice)))
            found.sort()
        return [choice for _, choice in found[:count]]

    def nearest(self) -> Choice:
        """The choice for which the limits would have to grow by the least factor."""

        def factor(item: tuple[Sizes, Choice]) -> float:
            fixed = self._fixed(item[0])
            total = self._problem(item[0]).totals(item[1])[1] + fixed
            return float((total / self.limit).max())

        candidates = []
        for _, sizes in self._combinations():
            problem = self._problem(sizes)
            candidates.append((sizes, nearest(problem.with_fixed(self._fixed(sizes)))))
        sizes, choice = min(candidates, key=factor)
        return self._rows(sizes, choice)

    def _combinations(self) -> list[tuple[float, Sizes]]:
        """Hidden sizes of the stages with the least loss that a net of them can have, least first."""
        return sorted(
            (math.fsum(float(losses[size].min()) for losses, size in zip(self.losses, sizes, strict=True)), sizes)
            for sizes in itertools.product(*self.numbers)
        )

    def _problem(self, sizes: Sizes) -> Problem:
        losses = tuple(of_stage[size] for of_stage, size in zip(self.losses, sizes, strict=True))
        costs = tuple(of_stage[size] for of_stage, size in zip(self.costs, sizes, strict=True))
        return Problem(losses, costs, self.limit - self._fixed(sizes))

    def _rows(self, sizes: Sizes, choice: Choice) -> Choice:
        return tuple(self.numbers[stage][size][n] for stage, (size, n) in enumerate(zip(sizes, choice, strict=True)))

    def _cost(self, name: str, block: Block, pooled: bool) -> float:
        """Of a block's operations; `pooled`: of those of the last one, where the first token alone is answered from."""
        if name == "latency_ms":
            assert self.latency is not None
            return self.latency.block(block, self.limits.length, first_only=pooled)
        return float(sum(self._of(name, part) for part in block_parts(self.shape, block)))

    def _of(self, name: str, part: Any) -> int:
        if name == "bytes":
            return int(part.bytes(self.limits.precision))
        return int(part.macs(self.tables.macs_tokens) if name == "macs" else part.parameters)

    def _fixed(self, sizes: Sizes) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(costs,) of embeddings and projections between blocks of these sizes."""
        pairs = list(itertools.pairwise((self.shape.embedding, *sizes)))
        values = []
        for name in self.asked:
            if name == "latency_ms":
                assert self.latency is not None
                length = self.limits.length
                values.append(self.latency.fixed(length) + sum(self.latency.projection(*p, length) for p in pairs))
                continue
            embeddings = {"parameters": tables_of(self.shape), "macs": 0}
            base = table_bytes(self.shape, self.limits.precision) if name == "bytes" else embeddings[name]
            values.append(float(base + sum(self._of(name, projection_part(*pair)) for pair in pairs)))
        return np.array(values)
