"""Pruning after training: weights of a finished supernet become zeros, and the rest learns from what it was.

The teacher is the full net as it stands in the run directory. It costs a part of the last stage of a training again.
(Gordon et al., section 5, also prune after fine-tuning, and recover on labels.)
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gearshift.errors import InputError
from gearshift.runtime.files.atomic import require_replaceable, sha256_of
from gearshift.trainer.data.splits import DataSet, data_hash
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.stages import Training, distil_stage
from gearshift.trainer.dynabert.train import encode_split
from gearshift.trainer.learning.devices import conditions, make_accelerator, usual_conditions
from gearshift.trainer.learning.evaluate import accuracies, with_reference
from gearshift.trainer.learning.interrupted import claim_states, decisive
from gearshift.trainer.learning.loop import StagePlan
from gearshift.trainer.learning.sparsity import Pruner, Pruning, reached
from gearshift.trainer.model.checkpoint import SUPERNET, WEIGHTS, Run, load_run, save_run

STAGE = "prune"


@dataclass(frozen=True)
class Recovery:
    """How what is left learns on."""

    epochs: float = 1
    lr: float = 1e-4
    """Peak learning rate."""
    batch_size: int = 32
    random_subnets: int = 1
    """Subnets of a step besides the largest and the smallest."""
    hidden_weight: float = 1.0
    """Weight of the hidden-state loss beside the logit loss."""
    mixed_precision: str = ""
    """As of `Settings`."""
    save_every_s: float = 60
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise InputError(f"prune: expected epochs above 0, in which weights become zeros, got {self.epochs:g}")

    def settings(self, max_length: int) -> Settings:
        """The trainer's settings of the one stage; raises InputError for what it does not take."""
        return Settings(
            max_length=max_length,
            batch_size=self.batch_size,
            depth_epochs=self.epochs,
            depth_lr=self.lr,
            depth_hidden_weight=self.hidden_weight,
            random_subnets=self.random_subnets,
            mixed_precision=self.mixed_precision,
            save_every_s=self.save_every_s,
            seed=self.seed,
        )


def prune_run(run: Run, data: DataSet, pruning: Pruning, recovery: Recovery, out: Path) -> Run:
    """Prune the supernet of a run, all subnets at once, and write the run directory `out`.

    A sparsity of 0 only trains on: what pruned ones are to be compared with. Interrupted, it goes on from the last
    saved state when called again with the same arguments. Raises InputError where such a state was made with others,
    StorageError where `out` cannot be written.
    """
    require_replaceable(out, marker=SUPERNET, source=run.path)
    checkpoint = run.checkpoint
    model = checkpoint.model
    settings = recovery.settings(int(run.facts["max_length"]))
    accelerator = make_accelerator(settings.mixed_precision)
    train, test = (encode_split(checkpoint, settings, data.splits[split], split) for split in ("train", "test"))
    test = with_reference(model, test)  # the full net before anything was pruned
    states = out.resolve().with_name(f"{out.resolve().name}.partial")
    with accelerator.main_process_first():
        identity = {**_identity(run, data, pruning, recovery), **conditions(accelerator)}
        usual = {"recovery": dataclasses.asdict(Recovery()), **usual_conditions(accelerator)}
        claim_states(states, identity, usual=usual)
    model.embeddings.requires_grad_(not run.facts.get("settings", {}).get("freeze_embeddings", False))
    distil_stage(
        Training(checkpoint, settings, train, states, accelerator=accelerator),
        StagePlan(STAGE, recovery.epochs, recovery.lr),
        list(run.subnets.values()),
        recovery.hidden_weight,
        Pruner(model, pruning),
    )
    if accelerator.is_main_process:
        found = accuracies(model, run.subnets, test)
        measured = dict(tqdm(found, total=len(run.subnets), desc="test", unit="subnet", disable=None))
        facts = {
            **run.facts,
            "pruning": {**dataclasses.asdict(pruning), **dataclasses.asdict(recovery), "of": str(run.path)},
            "sparsity": reached(model, pruning),
        }
        save_run(out, checkpoint, subnets=run.subnets, accuracies=measured, facts=facts)
        shutil.rmtree(states, ignore_errors=True)
    accelerator.wait_for_everyone()
    return load_run(out)


def _identity(run: Run, data: DataSet, pruning: Pruning, recovery: Recovery) -> dict[str, Any]:
    """What must be the same for an interrupted pruning to go on."""
    return {
        "pruning": dataclasses.asdict(pruning),
        "recovery": decisive(dataclasses.asdict(recovery)),
        "supernet": sha256_of(run.path / WEIGHTS),
        "rows": data_hash(data),
    }
