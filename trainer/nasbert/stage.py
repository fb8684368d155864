"""Search of one stage: blocks learn one at a time to replace some layers of the teacher; the worst are deleted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gearshift.runtime.space.blocks import Block, BlockShape
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.learning.devices import training_device
from gearshift.trainer.learning.interrupted import load_weights, read_note, save_note, save_weights
from gearshift.trainer.learning.loop import StagePlan, run_stage
from gearshift.trainer.model.encoder.layer import Dropout
from gearshift.trainer.nasbert.model import MixedStageModel, start_small
from gearshift.trainer.nasbert.scoring import BlockBatch, block_losses
from gearshift.trainer.nasbert.settings import SearchSettings
from gearshift.trainer.nasbert.shrinking import Floats, Population, fixed_buckets, quantile_buckets, rounds_needed
from gearshift.trainer.nasbert.teacher import TaughtRows


@dataclass(frozen=True)
class StageResult:
    """Remaining blocks of a stage, with their weights and losses."""

    model: MixedStageModel
    """Weights of the remaining blocks, and of no others."""
    blocks: tuple[Block, ...]
    losses: Floats
    """Mean squared error on all held-out text, shape (blocks,)."""
    scale: float
    """Variance of the teacher's states after the stage: the loss of the best constant answer."""
    history: tuple[dict[str, Any], ...]
    """Number of living blocks, in all and per bucket, after each deletion; for plots."""


@dataclass(frozen=True)
class StageModels:
    """Factory of the weights of a stage."""

    shape: BlockShape
    norm_eps: float

    def of(self, blocks: Sequence[Block]) -> MixedStageModel:
        """Make weights for these blocks between bridges, without dropout: there is more text than they learn."""
        bridge = self.shape.bridge
        model = MixedStageModel(self.shape, blocks, bridge, Dropout(0.0, 0.0), self.norm_eps)
        start_small(model)
        return model


class StageSearch:
    """Search of one stage, which can be interrupted and resumed from a folder."""

    def __init__(
        self,
        number: int,
        build: StageModels,
        blocks: Sequence[Block],
        settings: SearchSettings,
        train: TaughtRows,
        dev: TaughtRows,
        folder: Path,
        latencies: Floats | None = None,
    ) -> None:
        self.number, self.build, self.settings, self.folder = number, build, settings, folder
        self.train, self.dev = train, dev
        self.blocks = tuple(blocks)
        sizes = np.array([build.shape.layer_parameters(block) for block in blocks], float)
        costs = [sizes, *([latencies] if latencies is not None else [])]
        make = quantile_buckets if settings.bucketing == "quantile" else fixed_buckets
        self.population = Population(self.blocks, make(costs, settings.buckets))
        self.rounds = rounds_needed(self.population.buckets, settings)
        torch.manual_seed(settings.seed * 100 + number)
        self.model = build.of(self.blocks).to(training_device())
        self.scores = self._block_batches(settings.score_batches)

    @property
    def name(self) -> str:
        """Name of the training and of its files."""
        return f"block{self.number}"

    @property
    def epochs(self) -> int:
        """Epochs of the whole training, equal with and without deletions."""
        return self.settings.warm_epochs + self.rounds + self.settings.last_epochs

    def run(self) -> StageResult:
        """Train and shrink; an interrupted search resumes."""
        finished = self.folder / f"{self.name}.safetensors"
        if finished.is_file():
            load_weights(finished, self.model)
            self.begin()
        else:
            plan = StagePlan(self.name, self.epochs, self.settings.lr)
            run_stage(
                self.model, self.train.rows, plan, self.settings, self._losses, states=self._states, constraint=self
            )
            save_weights(finished, self.model)
            shutil.rmtree(self._states, ignore_errors=True)
        return self._result()

    def begin(self) -> None:
        """Restore the living blocks of each epoch (`loop.Constraint`)."""
        saved = read_note(self._history) or []
        self.alive = [np.array(numbers, np.int64) for numbers in saved] or [self.population.alive]
        self.population.alive = self.alive[-1]

    def after_step(self, step: int, total: int) -> None:
        """Delete blocks at the end of an epoch with a deletion (`loop.Constraint`)."""
        per_epoch = self.train.rows.batch_count(self.settings.batch_size)
        epoch = (step + 1) // per_epoch
        first, rounds = self.settings.warm_epochs, self.rounds if self.settings.shrink != "none" else 0
        if (step + 1) % per_epoch or not first <= epoch < first + rounds:
            return
        if len(self.alive) - 1 > epoch - first:
            return  # deleted before an interruption
        source = np.random.default_rng((self.settings.seed, self.number, epoch))
        self.population.shrink(lambda blocks: block_losses(self.model, blocks, self.scores), self.settings, source)
        self.alive.append(self.population.alive)
        save_note(self._history, [numbers.tolist() for numbers in self.alive])

    def _losses(self, model: nn.Module, batch: Batch, index: int) -> list[Callable[[], Tensor]]:
        """Return the loss of one random block.

        The draw depends on the step alone, so that a resumed search draws the same blocks.
        """
        epoch = index // self.train.rows.batch_count(self.settings.batch_size)
        self.population.alive = self.alive[min(max(0, epoch - self.settings.warm_epochs + 1), len(self.alive) - 1)]
        block = self.population.draw(np.random.default_rng((self.settings.seed, self.number, 1, index)))
        taught = self.train.block_batch(self.number, batch)

        def loss() -> Tensor:
            hidden = self.model.run(self.model.enter(taught.inputs, block.hidden), taught.mask, block)
            return taught.loss(self.model, hidden, block.hidden)

        return [loss]

    @property
    def _states(self) -> Path:
        """Folder of this stage alone, as other stages may be searched at the same time."""
        return self.folder / self.name

    @property
    def _history(self) -> Path:
        return self.folder / f"{self.name}.alive.json"

    def _block_batches(self, count: int | None = None) -> list[BlockBatch]:
        """Return the first `count` batches of held-out text (default: all), the same in every round."""
        batches = list(self.dev.rows.batches(self.settings.batch_size, seed=self.settings.seed))[:count]
        together = 1 if training_device().type == "cpu" else self.settings.score_batches
        return self.dev.block_batches(self.number, batches, together=together)

    def _result(self) -> StageResult:
        """Measure the remaining blocks; without shrinking, the best `kept` of each bucket."""
        if self.settings.shrink == "none":
            self._keep_best()
        blocks = tuple(self.blocks[number] for number in self.population.alive)
        batches = self._block_batches()
        losses = block_losses(self.model, blocks, batches)
        small = self.build.of(blocks)
        state = self.model.state_dict()
        small.load_state_dict({name: state[name] for name in small.state_dict()})
        targets = torch.cat([batch.targets for batch in batches])
        return StageResult(small, blocks, losses, float(targets.var(0, correction=0).mean()), self._told())

    def _keep_best(self) -> None:
        """Keep the best `kept` blocks of each bucket after training: the paper's search without shrinking."""
        source = np.random.default_rng((self.settings.seed, self.number))
        while max(map(len, self.population.members())) > self.settings.kept:
            self.population.shrink(lambda blocks: block_losses(self.model, blocks, self.scores), self.settings, source)

    def _told(self) -> tuple[dict[str, Any], ...]:
        buckets = self.population.buckets
        count = int(buckets.max()) + 1
        return tuple(
            {
                "blocks": len(alive),
                "buckets": [int(n) for n in np.bincount(buckets[alive], minlength=count)],
            }
            for alive in self.alive
        )
