"""Experiment: a pool of nets made of a search's own blocks, with weights that all of them share.

NAS-BERT trains the nets that it finds anew. But the blocks of a search all stand between the same states of the
teacher, so they can be combined unchanged, each with its projections from and to the teacher's width, behind its
embeddings and before its head: nets that switch without retraining. A teacher that was trained for a task supplies the
head.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from gearshift.errors import InputError
from gearshift.runtime.bundle.manifest import MACS_TOKENS
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.space.blocks import Block, BlockShape
from gearshift.runtime.space.parts import projection_part
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.tables.knapsack import Problem, best_choices
from gearshift.trainer.data.batches import EncodedRows, encode
from gearshift.trainer.data.splits import DataSet
from gearshift.trainer.learning.devices import training_device
from gearshift.trainer.learning.evaluate import accuracy
from gearshift.trainer.learning.objectives import OBJECTIVES
from gearshift.trainer.model.run import POOL
from gearshift.trainer.nasbert.model import MixedModel
from gearshift.trainer.nasbert.run import MIXED, MixedRun, load_mixed_run
from gearshift.trainer.nasbert.search import Searched
from gearshift.trainer.nasbert.teacher import TeacherEncoder

LEVELS = 40
"""Number of sizes at which the best nets by summed loss are searched."""


@dataclass(frozen=True)
class SharedNet:
    """A net of shared blocks, with its measurements."""

    subnet: Subnet[Block]
    macs: int
    summed: float
    """Sum of its blocks' losses against the teacher's states."""
    loss: float
    """Distillation loss of its answers on the dev rows."""


def choose_shared(
    searched: Searched,
    teacher: TeacherEncoder,
    data: DataSet,
    *,
    pool: int = 12,
    each: int = 3,
) -> tuple[MixedRun, list[SharedNet]]:
    """Choose a pool on the dev rows, measure it on the test rows, and write it into the search's directory.

    Candidates are the `each` best nets by summed loss at many sizes; `pool` of them are taken, evenly spaced along
    their Pareto front by measured loss.
    Returns the run, which `export` accepts, and all candidates; the run stores where `data` was read from.
    Raises InputError if the teacher has no head, or one for another task, ModelError if its weights are not those of
    the search.
    """
    if pool < 1:
        raise InputError(f"pool: expected 1 net or more, got {pool}")
    teacher.require(searched.run.facts.get("teacher_hash"), searched.run.path)
    checkpoint = searched.run.checkpoint
    if not OBJECTIVES[checkpoint.task].taught:
        raise InputError(
            f"{searched.run.path}: its teacher was not trained for a task, so that its nets have no head; search with "
            "the run of one (`gearshift nas-search --model RUN`)"
        )
    if (checkpoint.task, checkpoint.labels) != (data.task, data.labels):
        raise InputError(
            f"{searched.run.path}: expected the search of a teacher for {data.task} of the labels "
            f"{', '.join(data.labels)}, found one for {checkpoint.task} of {', '.join(checkpoint.labels)}"
        )
    dev, test = (_encode(searched, data, split) for split in ("dev", "test"))
    found = [
        SharedNet(subnet, subnet.macs(checkpoint.model.shape, MACS_TOKENS), summed, 0.0)
        for subnet, summed in _candidates(searched, each)
    ]
    losses = _losses(checkpoint.model, teacher, [one.subnet for one in found], dev)
    scored = [dataclasses.replace(one, loss=loss) for one, loss in zip(found, losses, strict=True)]
    chosen = _spread(_front(scored), pool)
    accuracies = {
        one.subnet.name: accuracy(checkpoint.model, one.subnet, test)
        for one in tqdm(chosen, desc="test", unit="net", disable=None)
    }
    return _write(searched, chosen, accuracies, data.facts), scored


def _encode(searched: Searched, data: DataSet, split: str) -> EncodedRows:
    checkpoint, length = searched.run.checkpoint, int(searched.run.facts["max_length"])
    return encode(
        data.splits[split],
        data.labels,
        checkpoint.tokenizer,
        max_length=length,
        task=data.task,
        held_out=split != "train",
    )


def _candidates(searched: Searched, each: int) -> list[tuple[Subnet[Block], float]]:
    """Return the best nets by summed loss at LEVELS sizes, by the MACs of blocks with their projections."""
    tables = searched.tables
    space = tables.space
    losses = tuple(np.array([row.loss for row in rows]) for rows in tables.rows)
    blocks = [tuple(space.options_of(stage)) for stage in range(space.length)]
    costs = tuple(np.array([[_macs(space.shape, block)] for block in of_stage], float) for of_stage in blocks)
    least, most = (sum(getattr(cost, edge)() for cost in costs) for edge in ("min", "max"))
    found: dict[Subnet[Block], float] = {}
    for limit in np.geomspace(least, most, LEVELS):
        problem = Problem(losses, costs, np.array([limit]))
        for choice in best_choices(problem, each):
            found[space.subnet(choice)] = problem.totals(choice)[0]
    return list(found.items())


def _macs(shape: BlockShape, block: Block) -> int:
    around = [projection_part(shape.bridge, block.hidden), projection_part(block.hidden, shape.bridge)]
    return sum(part.macs(MACS_TOKENS) for part in (*shape.layer_parts(block), *around))


@torch.no_grad()
def _losses(
    model: MixedModel, teacher: TeacherEncoder, subnets: Sequence[Subnet[Block]], rows: EncodedRows
) -> list[float]:
    """Return the distillation loss of each net against the teacher's answers."""
    distillation = OBJECTIVES[rows.task].distillation
    device = training_device()
    theirs = teacher.checkpoint.model.eval().to(device)
    model.eval().to(device)
    batches = [batch.to(device) for batch in rows.batches(64)]
    answers = [theirs(batch, theirs.full).logits for batch in batches]
    totals = []
    for subnet in tqdm(subnets, desc="losses", unit="net", disable=None):
        losses = [distillation(model(b, subnet).logits, a, b).item() for b, a in zip(batches, answers, strict=True)]
        totals.append(float(np.average(losses, weights=[len(batch.indices) for batch in batches])))
    return totals


def _front(nets: Sequence[SharedNet]) -> list[SharedNet]:
    """Return the Pareto-optimal nets in cost and loss, the cheapest first."""
    front: list[SharedNet] = []
    for one in sorted(nets, key=lambda one: (one.macs, one.loss)):
        if not front or one.loss < front[-1].loss:
            front.append(one)
    return front


def _spread(front: list[SharedNet], count: int) -> list[SharedNet]:
    """Return some nets of a front, evenly spaced along it, largest first."""
    places = np.linspace(0, len(front) - 1, min(count, len(front))).round().astype(int)
    return [front[place] for place in reversed(places)]


def _write(
    searched: Searched, chosen: Sequence[SharedNet], accuracies: dict[str, float], known: dict[str, Any]
) -> MixedRun:
    path = searched.run.path
    description: dict[str, Any] = json.loads((path / MIXED).read_text(encoding="utf-8"))
    description["facts"] |= known
    description["subnets"] = {one.subnet.name: one.subnet.to_plain() for one in chosen}
    shape = searched.run.checkpoint.model.shape
    pool = [
        {
            "name": one.subnet.name,
            "accuracy": accuracies[one.subnet.name],
            "parameters": one.subnet.parameters(shape),
            "macs": one.macs,
            "summed_loss": one.summed,
            "loss": one.loss,
        }
        for one in chosen
    ]
    for name, content in ((MIXED, description), (POOL, pool)):
        replace_file(path / name, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return load_mixed_run(path)
