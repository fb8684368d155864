"""Search of mixed operations: from a teacher and text to block tables and the shared weights of all blocks."""

from __future__ import annotations

import datetime
import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.runtime.bundle.manifest import MACS_TOKENS
from gearshift.runtime.files.atomic import require_replaceable, sha256_of
from gearshift.runtime.space.blocks import OPERATIONS, Block, BlockShape
from gearshift.runtime.space.space import BlockSpace, block_stage
from gearshift.runtime.tables.latency import LatencyPredictor
from gearshift.runtime.tables.tables import Tables, make_tables
from gearshift.runtime.tables.tables_file import TABLES, load_tables, save_tables
from gearshift.trainer.learning.interrupted import claim, fixed_settings
from gearshift.trainer.model.elastic import HEAD
from gearshift.trainer.model.run import WEIGHTS
from gearshift.trainer.nasbert.blocks import HALF_LAYERS, all_blocks, block_sizes, bridged_shape
from gearshift.trainer.nasbert.corpus import Corpus, read_corpus
from gearshift.trainer.nasbert.model import MixedModel
from gearshift.trainer.nasbert.run import MIXED, MixedCheckpoint, MixedRun, load_mixed_run, save_mixed_run
from gearshift.trainer.nasbert.settings import SearchSettings
from gearshift.trainer.nasbert.stage import StageModels, StageResult, StageSearch
from gearshift.trainer.nasbert.teacher import TaughtRows, TeacherEncoder, boundaries_of, read_states

LATENCY_TOKENS = 64
"""Length in tokens of the text whose latency defines the buckets."""


@dataclass(frozen=True)
class Searched:
    """Finished search, as in its directory."""

    run: MixedRun
    """Shared weights of the remaining blocks, with the teacher's embeddings and head."""
    tables: Tables[Block, BlockShape]

    @property
    def history(self) -> list[list[dict[str, Any]]]:
        """Blocks and bucket sizes that remained after each deletion, for each stage; for plots."""
        found: list[list[dict[str, Any]]] = self.run.facts["history"]
        return found


def search_blocks(
    teacher: TeacherEncoder,
    texts: Sequence[Path],
    settings: SearchSettings,
    out: Path,
    *,
    states: Path | None = None,
    latency: LatencyPredictor[Block] | None = None,
) -> Searched:
    """Search blocks for a teacher's layers on text, and write the directory `out`.

    `states`: folder for the teacher's hidden states, which later searches and trainings on the same text reuse; by
    default they are kept beside `out` until it is written.
    `latency`: latency predictor of a device; buckets then go by latency too.
    An interrupted search resumes from its last saved state when called again with the same arguments. Raises InputError
    if such a state was made with other arguments, StorageError if `out` cannot be written.
    """
    corpus, folder, stages = _begin(teacher, texts, settings, out, states, latency)
    checkpoint = teacher.checkpoint
    results = [stage.run() for stage in stages]
    facts = {
        "settings": settings.to_dict(),
        "teacher": str(checkpoint.source.resolve()),
        "teacher_hash": teacher.hash,
        "texts": [str(path.resolve()) for path in texts],
        "corpus": corpus.hash,
        "tokens": {"train": _tokens(corpus.train.ids), "dev": _tokens(corpus.dev.ids)},
        "max_length": teacher.max_length or settings.max_length,
        "history": [list(result.history) for result in results],
    }
    searched = _save(teacher, results, facts, out)
    shutil.rmtree(folder, ignore_errors=True)
    return searched


def search_stage(
    teacher: TeacherEncoder,
    texts: Sequence[Path],
    settings: SearchSettings,
    out: Path,
    number: int,
    *,
    states: Path,
    latency: LatencyPredictor[Block] | None = None,
) -> None:
    """Search one stage only; `search_blocks`, called later with the same arguments, combines the stages.

    Stages are independent, so that several processes can share a search once the `states` are computed.
    """
    _, _, stages = _begin(teacher, texts, settings, out, states, latency)
    next(itertools.islice(stages, number, None)).run()


def load_searched(path: Path) -> Searched:
    """Read a finished search; raises ModelError or SchemaError if there is none."""
    run = load_mixed_run(path)
    return Searched(run, load_tables(path / TABLES, supernet=sha256_of(path / WEIGHTS)))


def _identity(
    teacher: TeacherEncoder, corpus: Corpus, settings: SearchSettings, latency: LatencyPredictor[Block] | None
) -> dict[str, Any]:
    """Return the identity of a search: all that must be equal for an interrupted search to resume."""
    sizes = settings.sizes or block_sizes(teacher.checkpoint.model.shape)
    times = None if latency is None else {f"{size} {name}": ms for (size, name), ms in _times(latency, sizes).items()}
    return {
        "settings": fixed_settings(settings.to_dict()),
        "teacher": teacher.hash,
        "corpus": corpus.hash,
        "latency": times,
    }


def _begin(
    teacher: TeacherEncoder,
    texts: Sequence[Path],
    settings: SearchSettings,
    out: Path,
    states: Path | None,
    latency: LatencyPredictor[Block] | None,
) -> tuple[Corpus, Path, Iterator[StageSearch]]:
    """Return the corpus, the folder for intermediate states, and an iterator that makes the stages one by one."""
    require_replaceable(out, marker=MIXED)
    if latency is not None:
        latency.require(bridged_shape(teacher.checkpoint.model.shape))
    corpus = read_corpus(
        texts,
        teacher.checkpoint.tokenizer,
        max_length=settings.max_length,
        tokens=settings.tokens,
        dev_tokens=settings.dev_tokens,
    )
    folder = out.resolve().with_name(f"{out.resolve().name}.partial")
    defaults = {"settings": SearchSettings().to_dict(), "latency": None}
    claim(folder, _identity(teacher, corpus, settings, latency), defaults=defaults)
    train, dev = read_states(teacher, corpus, settings.block_layers, states or folder / "states")
    return corpus, folder, _stages(teacher, settings, train, dev, folder, latency)


def _stages(
    teacher: TeacherEncoder,
    settings: SearchSettings,
    train: TaughtRows,
    dev: TaughtRows,
    folder: Path,
    latency: LatencyPredictor[Block] | None,
) -> Iterator[StageSearch]:
    shape = teacher.checkpoint.model.shape
    boundaries = boundaries_of(shape.layers, settings.block_layers)
    for number in range(len(boundaries) - 1):
        operations = HALF_LAYERS * (boundaries[number + 1] - boundaries[number])
        blocks = all_blocks(settings.sizes or block_sizes(shape), operations)
        times = None
        if latency is not None:
            cost = _times(latency, sorted({block.hidden for block in blocks}))
            times = np.array([sum(cost[block.hidden, name] for name in block.operations) for block in blocks])
        build = StageModels(bridged_shape(shape), teacher.checkpoint.model.norm_eps)
        yield StageSearch(number, build, blocks, settings, train, dev, folder, times)


def _times(latency: LatencyPredictor[Block], sizes: Sequence[int]) -> dict[tuple[int, str], float]:
    """Return (hidden size, operation) -> milliseconds."""
    return {
        (size, name): latency.layers((Block(size, (name,)),), LATENCY_TOKENS, first=0, of=1)
        for size in sizes
        for name in sorted(OPERATIONS)
    }


def _save(teacher: TeacherEncoder, results: list[StageResult], facts: dict[str, Any], out: Path) -> Searched:
    """Assemble the teacher's embeddings, the stages and the teacher's head into a model, and write it."""
    checkpoint = teacher.checkpoint
    stages = tuple(block_stage(number, result.blocks) for number, result in enumerate(results))
    space = BlockSpace(bridged_shape(checkpoint.model.shape), stages)
    model = MixedModel(
        space,
        len(checkpoint.labels),
        head=checkpoint.model.head,
        dropout=checkpoint.model.dropout,
        norm_eps=checkpoint.model.norm_eps,
    )
    state = {
        name: tensor
        for name, tensor in checkpoint.model.state_dict().items()
        if name.startswith(("embeddings.", *HEAD))
    }
    for number, result in enumerate(results):
        state |= {f"stages.{number}.{name}": tensor for name, tensor in result.model.state_dict().items()}
    model.load_state_dict(state)
    mixed = MixedCheckpoint(model, checkpoint.tokenizer, checkpoint.labels, checkpoint.source)
    save_mixed_run(out, mixed, subnets={}, accuracies={}, facts=facts)
    tables = make_tables(
        space,
        [[float(loss / result.scale) for loss in result.losses] for result in results],
        supernet=sha256_of(out / WEIGHTS),
        macs_tokens=MACS_TOKENS,
        loss_rows=facts["tokens"]["dev"],
        date=datetime.date.today().isoformat(),
    )
    save_tables(out / TABLES, tables)
    return Searched(load_mixed_run(out), tables)


def _tokens(ids: Sequence[Any]) -> int:
    return sum(map(len, ids))
