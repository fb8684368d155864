"""Model that a training starts from: whether its heads and neurons are in order already, and what is worth a word."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gearshift.errors import InputError
from gearshift.trainer.dynabert.settings import BROUGHT, IMPORTANCE_ROWS, TUNED, Settings
from gearshift.trainer.model.checkpoint import Checkpoint
from gearshift.trainer.model.run import SUBNET, SUPERNET


def is_ordered(source: Path) -> bool:
    """Return whether a directory has a supernet, or a subnet that was cut out of one: whether narrower subnets of it
    were trained, which another order of heads and neurons would tear apart."""
    return any((source / name).is_file() for name in (SUPERNET, SUBNET))


def with_source(settings: Settings, source: Path) -> Settings:
    """Return the settings with the number of rows to rank on, 0 for none, and the start of distillation, where they
    were not set.

    Raises InputError if the encoder as it was brought is to be in the order of the tuned one.
    """
    ordered, rows, start = is_ordered(source), settings.importance_rows, settings.start
    if start is None:
        start = BROUGHT if ordered and not rows else TUNED
    if rows is None:
        rows = 0 if ordered or start == BROUGHT else IMPORTANCE_ROWS
    if rows and start == BROUGHT:
        raise InputError(
            f"settings: importance_rows {rows} ranks the tuned encoder, and distillation is to start from the brought "
            "one; set importance_rows to 0, or start to tuned"
        )
    return dataclasses.replace(settings, importance_rows=rows, start=start)


def order_note(source: Path, *, ranked: bool) -> str:
    """Return what became of the order of a supernet that a training started from."""
    if ranked:
        return (
            f"{source}: is a supernet, its heads and neurons were ranked anew: what its narrow subnets had "
            "learnt is lost; without --importance-rows their order is kept"
        )
    return f"{source}: is a supernet, its heads and neurons keep their order; --importance-rows N ranks them anew"


def source_notes(checkpoint: Checkpoint, settings: Settings) -> list[str]:
    """Return what a user should know of the model that a training starts from, a line each.

    `settings`: as `with_source` returns them.
    """
    source, rows, notes = checkpoint.source, settings.importance_rows, []
    if is_ordered(source):
        notes.append(order_note(source, ranked=bool(rows)))
    elif not rows:
        notes.append(f"{source}: its heads and neurons were not ranked and stay as they are (--importance-rows 0)")
    if checkpoint.lacking:
        notes.append(
            f"{source}: its config.json names a head, its weights have none ({', '.join(checkpoint.lacking)}); "
            "the teacher stage trained a new one"
        )
    fewer = [heads for heads in checkpoint.model.heads if heads < checkpoint.model.shape.heads]
    if fewer:
        each = ", ".join(map(str, checkpoint.model.heads))
        notes.append(f"{source}: has pruned heads; its layers have {each} of {checkpoint.model.shape.heads}")
    return notes
