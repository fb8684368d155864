"""Pruning after training: weights of a finished supernet become zeros, and the rest learns from the unpruned net.

The teacher is the full net in the run directory. Pruning costs a part of the last stage of a training again.
(Gordon et al., section 5, also prune after fine-tuning, and recover on labels.)
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gearshift.runtime.files.atomic import require_replaceable, sha256_of
from gearshift.trainer.data.splits import DataSet, data_hash
from gearshift.trainer.dynabert.settings import Recovery
from gearshift.trainer.dynabert.stages import Training, distil_stage
from gearshift.trainer.dynabert.train import encode_split
from gearshift.trainer.learning.devices import conditions, default_conditions, make_accelerator
from gearshift.trainer.learning.evaluate import accuracies, null_thresholds, with_reference
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
    train, test = (encode_split(checkpoint, settings, data.splits[split], split) for split in ("train", "test"))
    test = with_reference(model, test)  # by the full net before pruning
    states = out.resolve().with_name(f"{out.resolve().name}.partial")
    with accelerator.main_process_first():
        identity = {**_identity(run, data, pruning, recovery), **conditions(accelerator)}
        defaults = {"recovery": Recovery().to_dict(), **default_conditions(accelerator)}
        claim(states, identity, defaults=defaults)
    model.embeddings.requires_grad_(not run.facts.get("settings", {}).get("freeze_embeddings", False))
    distil_stage(
        Training(checkpoint, settings, train, states, accelerator=accelerator),
        StagePlan(STAGE, recovery.epochs, recovery.lr),
        list(run.subnets.values()),
        recovery.hidden_weight,
        Pruner(model, pruning),
    )
    if accelerator.is_main_process:
        thresholds: dict[str, float] = {}
        if run.thresholds:
            dev = encode_split(checkpoint, settings, data.splits["dev"], "dev")
            thresholds = null_thresholds(model, run.subnets, dev)
        found = accuracies(model, run.subnets, test, thresholds)
        measured = dict(tqdm(found, total=len(run.subnets), desc="test", unit="subnet", disable=None))
        facts = {
            **run.facts,
            "pruning": {**dataclasses.asdict(pruning), **recovery.to_dict(), "of": str(run.path)},
            "sparsity": reached(model, pruning),
        }
        save_run(out, checkpoint, subnets=run.subnets, accuracies=measured, facts=facts, thresholds=thresholds)
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
