"""Pruning after training: weights of a finished supernet become zeros, and the rest learns from the unpruned net.

The teacher is the full net in the run directory. Pruning costs a part of the last stage of a training again.
(Gordon et al., section 5, also prune after fine-tuning, and recover on labels.)
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from gearshift.runtime.files.atomic import require_replaceable, sha256_of
from gearshift.trainer.data.splits import DataSet, data_hash
from gearshift.trainer.dynabert.settings import Recovery
from gearshift.trainer.dynabert.stages import Training, distil_stage
from gearshift.trainer.dynabert.train import encode_split
from gearshift.trainer.learning.devices import conditions, default_conditions, make_accelerator
from gearshift.trainer.learning.evaluate import held_out_metrics, null_thresholds, with_reference
from gearshift.trainer.learning.interrupted import claim, fixed_settings
from gearshift.trainer.learning.loop import StagePlan
from gearshift.trainer.learning.settings import Pruning
from gearshift.trainer.learning.sparsity import Pruner, reached
from gearshift.trainer.model.run import SUPERNET, WEIGHTS, Run, load_supernet, save_run

STAGE = "prune"


def prune_run(run: Run, data: DataSet, pruning: Pruning, recovery: Recovery, out: Path) -> Run:
    """Prune the supernet of a run, all subnets at once, and write the run directory `out`.

    A sparsity of 0 only trains on, as a baseline for pruned nets. An interrupted call, repeated with the same
    arguments, continues from the last saved state.
    Raises InputError if that state was made with other arguments, StorageError if `out` cannot be written.
    """
    require_replaceable(out, marker=SUPERNET, source=run.path)
    checkpoint = run.checkpoint
    model = checkpoint.model
    settings = recovery.settings(int(run.facts["max_length"]))
    accelerator = make_accelerator(settings.mixed_precision)
    encoded = {split: encode_split(checkpoint, settings, rows, split) for split, rows in data.splits.items()}
    held_out = {split: with_reference(model, encoded[split]) for split in ("dev", "test")}  # before pruning
    states = out.resolve().with_name(f"{out.resolve().name}.partial")
    with accelerator.main_process_first():
        identity = {**_identity(run, data, pruning, recovery), **conditions(accelerator)}
        defaults = {"recovery": Recovery().to_dict(), **default_conditions(accelerator)}
        claim(states, identity, defaults=defaults)
    model.embeddings.requires_grad_(not run.facts.get("settings", {}).get("freeze_embeddings", False))
    distil_stage(
        Training(checkpoint, settings, encoded["train"], states, accelerator=accelerator),
        StagePlan(STAGE, recovery.epochs, recovery.lr),
        list(run.subnets.values()),
        recovery.hidden_weight,
        Pruner(model, pruning),
    )
    if accelerator.is_main_process:
        thresholds = null_thresholds(model, run.subnets, held_out["dev"]) if run.thresholds else {}
        measured = held_out_metrics(model, run.subnets, held_out, thresholds)
        facts = {
            **run.facts,
            **measured.facts,
            "pruning": {**dataclasses.asdict(pruning), **recovery.to_dict(), "of": str(run.path)},
            "sparsity": reached(model, pruning),
        }
        save_run(
            out,
            checkpoint,
            subnets=run.subnets,
            accuracies=measured.accuracies,
            dev_accuracies=measured.dev_accuracies,
            facts=facts,
            thresholds=thresholds,
        )
        shutil.rmtree(states, ignore_errors=True)
    accelerator.wait_for_everyone()
    return load_supernet(out)


def _identity(run: Run, data: DataSet, pruning: Pruning, recovery: Recovery) -> dict[str, Any]:
    """Return the values that must stay the same for an interrupted pruning to continue."""
    return {
        "pruning": dataclasses.asdict(pruning),
        "recovery": fixed_settings(recovery.to_dict()),
        "supernet": sha256_of(run.path / WEIGHTS),
        "rows": data_hash(data),
    }
