"""`gearshift search`: block tables of a supernet, and its pool, chosen on dev rows and measured on test rows.

1. Measure the held-out distillation loss of every option of every stage, with only that stage changed (NAS-BERT,
   section 3.4; here against the answers of the full subnet, not the hidden states of a block).
2. Leave out cuts that the best subnets hardly need (`pool.few_cuts`).
3. Take the best subnets by summed loss, at many latencies and on several kinds of device, and the trained uniform
   subnets; measure the loss of each.
4. Choose the pool from these; the full subnet always belongs to it. Measure its accuracy on the dev rows, by which an
   engine chooses, and on the test rows, which no choice depends on.
"""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from scipy.stats import spearmanr
from tqdm import tqdm

from gearshift.errors import InputError, UnknownSubnetError
from gearshift.runtime.bundle.manifest import MACS_TOKENS
from gearshift.runtime.files.atomic import replace_file, sha256_of
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Option, Space, Stage
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import subnet_name, uniform_subnet
from gearshift.runtime.tables.tables import Tables, make_tables
from gearshift.runtime.tables.tables_file import TABLES, save_tables
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.data.splits import DataSet
from gearshift.trainer.learning.devices import training_device
from gearshift.trainer.learning.evaluate import accuracies, null_thresholds, with_reference
from gearshift.trainer.learning.objectives import objective_of
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.run import POOL, WEIGHTS, Run, encode_held_out
from gearshift.trainer.search.kept_losses import KeptLosses, rows_hash
from gearshift.trainer.search.pool import Devices, candidates, choose_pool, few_cuts

BATCH_SIZE = 64
UNFINISHED = "search.partial"
"""File of an interrupted search's losses, in the run directory."""


class Scorer:
    """Function from a subnet to its mean held-out distillation loss against the full net; measures each once."""

    def __init__(self, model: ElasticClassifier, rows: EncodedRows, kept: KeptLosses | None = None) -> None:
        """Compute the full net's answers; `kept`: file of losses to reuse, and to add new ones to."""
        device = training_device()
        self._model = model.eval().to(device)
        self.full = model.full
        self._distillation = objective_of(rows.task).distillation
        self._batches = [batch.to(device) for batch in rows.batches(BATCH_SIZE)]
        with torch.no_grad():
            self._answers = [model(batch, model.full).logits for batch in self._batches]
        self._kept = kept
        self.known: dict[Subnet, float] = {} if kept is None else dict(kept.known)
        """Subnet -> loss, for all measured subnets."""

    @torch.no_grad()
    def __call__(self, subnet: Subnet) -> float:
        """Return the loss of a subnet: the mean over the rows."""
        if subnet not in self.known:
            total, count = 0.0, 0
            for batch, answers in zip(self._batches, self._answers, strict=True):
                logits = self._model(batch, subnet).logits
                total += len(batch.indices) * self._distillation(logits, answers, batch).item()
                count += len(batch.indices)
            self.known[subnet] = total / count
            if self._kept is not None:
                self._kept.add(subnet, self.known[subnet])
        return self.known[subnet]


@dataclass(frozen=True)
class PoolMember:
    """Subnet of the pool, with its measurements."""

    name: str
    subnet: Subnet
    parameters: int
    macs: int
    summed_loss: float | None
    """Summed loss by the tables; None for a trained subnet outside their space."""
    loss: float
    """Measured loss on the dev rows."""
    accuracy: float
    """Metric of the task on the test rows."""
    dev_accuracy: float
    """Metric of the task on the dev rows."""
    null_threshold: float | None = None
    """Threshold of no answer, as in `checkpoint.Run`."""


@dataclass(frozen=True)
class SearchReport:
    """Result of a search."""

    tables: Tables
    pool: tuple[PoolMember, ...]
    metric: str
    test_rows: int
    evaluations: int
    """Number of measured losses, including those of the tables."""
    compared: int
    spearman: float
    """Rank correlation (Spearman) of summed and measured loss over the `compared` candidates, all near the front."""
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON, without the tables, which have a file of their own."""
        plain = {name: value for name, value in vars(self).items() if name not in ("tables", "pool")}
        return {**plain, "pool": [_plain(member) for member in self.pool]}


def search_space(
    shape: EncoderShape, widths: Sequence[float], layers_per_stage: int, *, separate: bool = False
) -> Space:
    """Return stages of `layers_per_stage` layers; each runs its first layers at one of the widths, or skips all.

    An option skips only the last layers of its stage, and has one width: that keeps the options few (NAS-BERT, section
    3.1). `separate`: heads and neurons each have a width of their own, which makes many more options.
    """
    if layers_per_stage < 1:
        raise InputError(f"layers per stage: expected 1 or more, got {layers_per_stage}")
    if 1.0 not in widths:
        raise InputError(f"widths: expected 1 among them, got {', '.join(f'{width:g}' for width in widths)}")
    sizes = sorted({uniform_subnet(shape, width, 1).layers[0] for width in widths}, reverse=True)
    if separate:
        heads, neurons = ({size[place] for size in sizes} for place in (0, 1))
        sizes = sorted(itertools.product(heads, neurons), reverse=True)
    stages = []
    for first in range(0, shape.layers, layers_per_stage):
        length = min(layers_per_stage, shape.layers - first)
        kept = [(size,) * count + ((0, 0),) * (length - count) for count in range(length, 0, -1) for size in sizes]
        stages.append(Stage(first, tuple(Option(layers) for layers in [*kept, ((0, 0),) * length])))
    return Space(shape, tuple(stages))


def _clipped(space: Space, model: ElasticClassifier) -> Space:
    """Return the space without the heads that layers of the model do not have."""
    stages = []
    for stage in space.stages:
        kept = dict.fromkeys(model.clipped(option.layers, stage.first) for option in stage.options)
        stages.append(Stage(stage.first, tuple(map(Option, kept))))
    return Space(space.shape, tuple(stages))


def measure_tables(scorer: Scorer, space: Space, *, supernet: str, rows: int) -> Tables:
    """Measure the tables of a space: the loss of every option, with all other stages full.

    Shows a progress bar on a terminal.
    """
    base = scorer(scorer.full)
    places = [(stage, option) for stage in space.stages for option in stage.options]
    found = iter([scorer(_changed(scorer.full, *place)) - base for place in _bar(places, "tables", "option")])
    losses = [[next(found) for _ in stage.options] for stage in space.stages]
    date = datetime.date.today().isoformat()
    return make_tables(
        space, losses, full_loss=base, supernet=supernet, macs_tokens=MACS_TOKENS, loss_rows=rows, date=date
    )


def search_run(
    run: Run,
    data: DataSet,
    *,
    widths: Sequence[float] | None = None,
    layers_per_stage: int = 1,
    separate: bool = False,
    pool: int = 50,
    rescored: int = 200,
    devices: Devices | None = None,
) -> SearchReport:
    """Search a trained supernet, and write `tables.json` and `pool.json` into its run directory.

    `widths`: default those of the training. `separate`: heads and neurons have widths of their own.
    `rescored`: number of candidates whose loss is measured, besides the trained uniform subnets.
    `devices`: latency predictors of the target devices; default synthetic ones of several kinds.
    The same run and rows give the same files. An interrupted search keeps its losses in the run directory, and resumes.
    Raises InputError for numbers out of range and for layers that share their weights, ProfileError for devices that
    timed another encoder, StorageError if the files cannot be written.
    """
    if not 1 <= pool <= rescored:
        raise InputError(f"pool: expected 1 to {rescored} subnets, the number that is rescored, got {pool}")
    checkpoint = run.checkpoint
    model, shape = checkpoint.model, checkpoint.model.shape
    if shape.shared:
        raise InputError(
            f"{run.path}: expected layers with weights of their own, found layers that share them, whose parameters "
            "are no sum over layers; export the trained subnets"
        )
    for device in (devices or {}).values():
        device.require(shape)
    chosen_widths = tuple(widths or run.facts.get("settings", {}).get("widths", ()))
    if not chosen_widths:
        raise InputError(f"{run.path}: expected the widths of its training, found none; pass them (--widths 1,.5)")
    space = _clipped(search_space(shape, chosen_widths, layers_per_stage, separate=separate), model)
    dev, test = (_encode(run, data, split) for split in ("dev", "test"))
    weights = sha256_of(run.path / WEIGHTS)
    kept = KeptLosses(run.path / UNFINISHED, f"{weights} {rows_hash(dev)} {BATCH_SIZE}")
    scorer = Scorer(model, dev, kept)
    tables = measure_tables(scorer, space, supernet=weights, rows=len(dev))
    uniform = list(run.trained.values())
    fewer = few_cuts(tables, smallest=min(uniform, key=lambda one: one.parameters(shape)))
    likely = candidates(fewer, rescored, devices)
    scored = dict.fromkeys([*likely, *uniform, model.full])
    losses = {subnet: scorer(subnet) for subnet in _bar(list(scored), "losses", "subnet")}
    picked = choose_pool(shape, losses, pool, devices=devices, rivals=uniform)
    even = {subnet: name for name, subnet in model.grid().items()}
    chosen = {even.get(subnet) or subnet_name(shape, subnet): subnet for subnet in picked}
    thresholds = null_thresholds(model, chosen, dev) if run.thresholds else {}
    of_test, of_dev = (
        dict(_bar(accuracies(model, chosen, rows, thresholds), split, "subnet", total=len(chosen)))
        for split, rows in (("test", test), ("dev", dev))
    )
    members = tuple(
        PoolMember(
            name,
            subnet,
            subnet.parameters(shape),
            subnet.macs(shape, MACS_TOKENS),
            summed(tables, subnet),
            losses[subnet],
            of_test[name],
            of_dev[name],
            thresholds.get(name),
        )
        for name, subnet in chosen.items()
    )
    save_tables(run.path / TABLES, tables)
    content = json.dumps([_plain(member) for member in members], indent=1) + "\n"
    replace_file(run.path / POOL, content.encode())
    kept.remove()
    return SearchReport(
        tables,
        members,
        objective_of(checkpoint.task).metric,
        len(test),
        len(scorer.known),
        len(likely),
        _rank_correlation([likely[subnet].loss for subnet in likely], [losses[subnet] for subnet in likely]),
        _notes(data),
    )


def summed(tables: Tables, subnet: Subnet) -> float | None:
    """Return the summed loss of a subnet; None if the tables do not have it."""
    try:
        return tables.loss(subnet)
    except UnknownSubnetError:
        return None


def _notes(data: DataSet) -> tuple[str, ...]:
    """Return a warning if the pool was chosen on the rows that measure it."""
    if data.splits["dev"] != data.splits["test"]:
        return ()
    return ("the pool was chosen on the rows that its accuracy is measured on, which flatters it; add a test file",)


def _encode(run: Run, data: DataSet, split: str) -> EncodedRows:
    return with_reference(run.checkpoint.model, encode_held_out(run, data.splits[split]))


def _changed(full: Subnet, stage: Stage, option: Option) -> Subnet:
    """Return the full subnet with one option of one stage changed; raises InputError if nothing is left of it."""
    layers = [*full.layers]
    layers[stage.first : stage.first + stage.length] = option.layers
    if option.skips and stage.length == len(layers):
        raise InputError("search: one stage that covers the whole net cannot be skipped; use smaller stages")
    return Subnet(tuple(layers))


def _rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's rank correlation; 0 if either sequence is constant."""
    return float(spearmanr(one, other).statistic) if len(set(one)) > 1 < len(set(other)) else 0.0


def _plain(member: PoolMember) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(member).items() if name != "null_threshold" or value is not None}
    return {**fields, "subnet": [list(layer) for layer in member.subnet.layers]}


def _bar(items: Iterable[Any], what: str, unit: str, total: int | None = None) -> Iterable[Any]:
    return tqdm(items, desc=what, unit=unit, total=total, disable=None)
