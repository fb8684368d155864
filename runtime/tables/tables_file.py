"""Block tables on disk (`tables.json`), in one form per kind of net.

Elastic supernet:

    schema_version   1
    supernet         SHA-256 of the weights that the losses were measured with (model.safetensors of the run)
    space            shape and stages as in a manifest; not the space of the graph, which is cut for the pool
    fixed            loss of the full subnet; parameters and bytes by precision of the embeddings
    rows             for each stage, for each option: loss (increase), parameters, macs, bytes by precision
    macs_tokens      length in tokens of the text that macs are counted for
    loss_rows        number of held-out rows that the losses were measured on
    date             date of the measurement, ISO 8601

Search of blocks; parameters and macs are those of a block's operations, without the projections around it:

    schema_version   1
    kind             mixed
    supernet         SHA-256 of the shared weights that the losses were measured with (model.safetensors beside it)
    shape            sizes shared by all blocks, with the teacher's width as `bridge`
    rows             for each stage, for each block: hidden, operations, loss, parameters, macs
    macs_tokens      length in tokens of the text that macs are counted for
    loss_tokens      number of held-out tokens that the losses were measured on
    date             date of the measurement, ISO 8601
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from gearshift.errors import InputError, SchemaError
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.space.blocks import Block, BlockShape
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Space, block_stage
from gearshift.runtime.space.subnet import Shape
from gearshift.runtime.tables.tables import Row, Tables, make_tables
from gearshift.schema import Schema

SCHEMA = Schema(version=1, advice="search again", missing="run `gearshift search`")

TABLES = "tables.json"


def save_tables(path: Path, tables: Tables[Any, Any]) -> None:
    """Write tables atomically; raises StorageError."""
    replace_file(path, (json.dumps(plain_tables(tables), indent=1, allow_nan=False) + "\n").encode())


def load_tables(path: Path | str, *, shape: Shape[Any] | None = None, supernet: str | None = None) -> Tables[Any, Any]:
    """Read tables from a file; raises SchemaError, which names the file.

    `shape`, `supernet`: the net that the tables are for; those of another net are refused. The embeddings alone may
    differ, as with a smaller vocabulary: their costs are then those of `shape`.
    """
    tables = SCHEMA.read(Path(path), read_tables)
    if shape is not None and (differences := shape.layer_differences(tables.space.shape)):
        raise SchemaError(f"{path}: the tables of another space: expected {differences}; search again")
    if supernet is not None and tables.supernet != supernet:
        raise SchemaError(
            f"{path}: the tables of another supernet: expected weights {supernet[:12]}, "
            f"found {tables.supernet[:12]}; search again"
        )
    return tables if shape in (None, tables.space.shape) else tables.with_embeddings(shape)


def plain_tables(tables: Tables[Any, Any]) -> dict[str, Any]:
    """Return plain values by name, for JSON."""
    return {"schema_version": SCHEMA.version, **FORMS[tables.space.shape.kind][0](tables)}


def read_tables(given: dict[str, Any]) -> Tables[Any, Any]:
    """Read the tables that `plain_tables` wrote, without the version; raises InputError for an unknown kind of net."""
    kind = given.pop("kind", EncoderShape.kind)
    if kind not in FORMS:
        raise InputError(f"expected tables of kind {' or '.join(FORMS)}, found {kind!r}; install a newer gearshift")
    return FORMS[kind][1](given)


def _plain_layers(tables: Tables) -> dict[str, Any]:
    return {
        "supernet": tables.supernet,
        "space": tables.space.to_dict(),
        "fixed": _plain(tables.fixed),
        "rows": [[_plain(row) for row in rows] for rows in tables.rows],
        "macs_tokens": tables.macs_tokens,
        "loss_rows": tables.loss_rows,
        "date": tables.date,
    }


def _read_layers(given: dict[str, Any]) -> Tables:
    given["space"] = Space.from_dict(given["space"])
    given["full_loss"] = Row(**given.pop("fixed")).loss
    given["rows"] = tuple(tuple(Row(**row) for row in rows) for rows in given["rows"])
    return Tables(**given)


def _plain(row: Row) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _plain_blocks(tables: Tables[Block, BlockShape]) -> dict[str, Any]:
    rows = [
        [
            {**block.to_dict(), "loss": row.loss, "parameters": row.parameters, "macs": row.macs}
            for block, row in zip(tables.space.options_of(number), of_stage, strict=True)
        ]
        for number, of_stage in enumerate(tables.rows)
    ]
    return {
        "kind": BlockShape.kind,
        "supernet": tables.supernet,
        "shape": tables.space.shape.to_dict(),
        "macs_tokens": tables.macs_tokens,
        "loss_tokens": tables.loss_rows,
        "date": tables.date,
        "rows": rows,
    }


def _read_blocks(given: dict[str, Any]) -> Tables[Block, BlockShape]:
    rows = given.pop("rows")
    if not rows or not all(rows):
        raise InputError("block tables: expected at least one block in each stage, got none")
    losses = [[float(row["loss"]) for row in of_stage] for of_stage in rows]
    if any(loss < 0 for of_stage in losses for loss in of_stage):
        raise InputError("block tables: expected losses of 0 or more (shares of the variance)")
    stages = (block_stage(number, map(Block.from_dict, of_stage)) for number, of_stage in enumerate(rows))
    space = Space(BlockShape(**given.pop("shape")), tuple(stages))
    return make_tables(space, losses, loss_rows=given.pop("loss_tokens"), **given)


FORMS: dict[str, tuple[Callable[[Tables[Any, Any]], dict[str, Any]], Callable[[dict[str, Any]], Tables[Any, Any]]]] = {
    EncoderShape.kind: (_plain_layers, _read_layers),
    BlockShape.kind: (_plain_blocks, _read_blocks),
}
"""Kind of net -> (writer, reader) of its tables."""
