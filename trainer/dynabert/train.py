"""DynaBERT: fine-tune a teacher, sort its heads and neurons, and make it elastic.

1. teacher: fine-tune the full encoder on labels, if the task has any, or on similarities for a Matryoshka embedding;
   then rank and reorder heads and neurons.
2. width, if asked for: every width learns from the fine-tuned teacher.
3. depth: every width x depth learns from the full net of the previous stage.
4. final, if asked for: every width x depth learns from the labels.

Each stage starts from the end of the previous one, which is also its teacher; but subnets of a supernet that was
brought start from what they were, beside its tuned copy (`start`). Each step runs some of the subnets, adds up their
gradients, and updates the weights once; the teacher runs once per batch.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gearshift.errors import InputError, ModelError
from gearshift.runtime.files.atomic import require_replaceable
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import kept_layers
from gearshift.trainer.data.augment import augment, near_words
from gearshift.trainer.data.batches import EncodedRows, encode
from gearshift.trainer.data.heads import encode_heads
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.splits import DataSet, data_hash
from gearshift.trainer.data.tokenizer import check_length
from gearshift.trainer.data.unanswerable import has_unanswerable
from gearshift.trainer.dynabert.duration import estimate, told
from gearshift.trainer.dynabert.effort import with_effort
from gearshift.trainer.dynabert.masked_words import masked_words
from gearshift.trainer.dynabert.settings import TUNED, Settings
from gearshift.trainer.dynabert.settings_file import SETTINGS_FILE, settings_text, versions
from gearshift.trainer.dynabert.source import source_notes, with_source
from gearshift.trainer.dynabert.stages import Training, distil_stage, final_stage, pruner, teacher_stage
from gearshift.trainer.dynabert.training_stages import DEPTH, DEPTH_ONLY, KERNEL, TEACHER, WIDTH
from gearshift.trainer.learning.devices import (
    MEASURING,
    conditions,
    default_conditions,
    enough_memory,
    make_accelerator,
    smaller_steps,
)
from gearshift.trainer.learning.evaluate import held_out_metrics, null_thresholds, with_reference
from gearshift.trainer.learning.interrupted import claim, fixed_settings
from gearshift.trainer.learning.loop import StagePlan
from gearshift.trainer.learning.no_answer import DEFAULT, with_threshold
from gearshift.trainer.learning.objectives import objective_of
from gearshift.trainer.learning.sparsity import reached
from gearshift.trainer.model.checkpoint import Checkpoint, load_checkpoint
from gearshift.trainer.model.pretrained import find_model
from gearshift.trainer.model.run import SUPERNET, Run, load_supernet, save_run
from gearshift.trainer.model.sentence_settings import prompt_tokens


def train_supernet(
    source: Path | str,
    data: DataSet,
    settings: Settings,
    out: Path | str,
    *,
    tell: Callable[[str], None] | None = None,
) -> Run:
    """Train a supernet on the encoder in the directory `source`, and write the run directory `out`.

    The run stores where `data` was read from, so that `export_bundle(out, BUNDLE)` can read its test rows again.
    An interrupted training, called again with the same arguments, continues from the last saved state. Under
    `accelerate launch` all processes call it.
    `tell` is given a line on the time that the stages will take here, before a training that does not continue.
    Raises InputError if that state was made with other settings or other rows, StorageError if `out` cannot be written.
    """
    source, out = Path(source), Path(out)
    require_replaceable(out, marker=SUPERNET, source=source)
    out = out.resolve()
    log_to = out.with_name(f"{out.name}.tensorboard") if settings.tensorboard else None
    whole = settings.sampling in ("sandwich", "all") and max(settings.depths) == 1
    accelerator = make_accelerator(settings.mixed_precision, whole=whole, log_to=log_to)
    torch.manual_seed(settings.seed)
    checkpoint = load_checkpoint(source, data.labels, task=data.task, heads=data.heads)
    settings = with_effort(_within(settings, checkpoint), rows=len(data.splits["train"]), task=data.task)
    by_source = with_source(settings, source)
    _check(checkpoint, settings)
    checkpoint.model.embeddings.requires_grad_(not settings.freeze_embeddings)
    encoded = {split: encode_split(checkpoint, settings, rows, split) for split, rows in data.splits.items()}
    shape = checkpoint.model.shape
    grid = checkpoint.model.grid(settings.widths, settings.depths)
    states = out.with_name(f"{out.name}.partial")
    augmented = _augmented(checkpoint, settings, data.splits["train"], encoded["train"], accelerator.device)
    with accelerator.main_process_first():  # last, so that bad input leaves nothing behind
        identity = {**_identity(source, checkpoint, data, by_source), **conditions(accelerator)}
        defaults = {**with_source(Settings(), source).to_dict(), "start": TUNED}
        fresh = claim(states, identity, defaults={"settings": defaults, **default_conditions(accelerator)})
    if log_to is not None:
        accelerator.init_trackers("gearshift")
    with enough_memory("measuring the model as it was brought", MEASURING):
        checkpoint.model.to(accelerator.device)
        held_out = {split: with_reference(checkpoint.model, encoded[split]) for split in ("dev", "test")}
    silent = has_unanswerable(encoded["train"].rows)
    if silent:
        held_out["dev"] = with_threshold(held_out["dev"], DEFAULT)
    training = Training(
        checkpoint,
        by_source,
        encoded["train"],
        states,
        accelerator=accelerator,
        dev=held_out["dev"],
        augmented=augmented,
        ranked=by_source.importance_rows or 0,
    )
    if tell is not None and fresh and accelerator.num_processes == 1:
        with enough_memory("a few timed steps", smaller_steps(settings.micro_batch)):
            tell(told(estimate(training, grid, list(held_out.values()))))
    training = teacher_stage(training)
    if settings.matryoshka_dims:  # vectors of another basis, which every subnet learns from here on
        taught_by = training.taught_by or checkpoint.model
        with enough_memory("measuring the full net", MEASURING):
            held_out = {split: with_reference(taught_by, encoded[split]) for split in ("dev", "test")}
        training = replace(training, dev=held_out["dev"])
    distil_stages(training, grid)
    if accelerator.is_main_process:
        with enough_memory("measuring the held-out rows", MEASURING):
            thresholds = null_thresholds(checkpoint.model, grid, held_out["dev"]) if silent else {}
            metrics = held_out_metrics(checkpoint.model, grid, held_out, thresholds)
        facts = {
            **_facts(settings, encoded, shape.layers),
            **data.facts,
            "source": str(source),
            "notes": source_notes(checkpoint, by_source),
            **conditions(accelerator),
            "versions": versions(),
            **metrics.facts,
        }
        if settings.pruning is not None:
            facts["sparsity"] = reached(checkpoint.model, settings.pruning)
        save_run(
            out,
            checkpoint,
            subnets=grid,
            accuracies=metrics.accuracies,
            dev_accuracies=metrics.dev_accuracies,
            facts=facts,
            files={SETTINGS_FILE: settings_text(settings)},
            thresholds=thresholds,
        )
        shutil.rmtree(states, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return load_supernet(out)


def distil_stages(training: Training, grid: Mapping[str, Subnet]) -> None:
    """Run all stages behind that of the teacher in order, except those of no epochs."""
    settings, model = training.settings, training.model
    for stage, lr, hidden_weight in (
        (KERNEL, settings.width_lr, settings.width_hidden_weight),
        (WIDTH, settings.width_lr, settings.width_hidden_weight),
        (DEPTH_ONLY, settings.depth_lr, settings.depth_hidden_weight),
        (DEPTH, settings.depth_lr, settings.depth_hidden_weight),
    ):
        plan = StagePlan(stage.name, settings.epochs(stage.name), lr, dropout=settings.distil_dropout)
        subnets = model.grid(*stage.multipliers(*settings.dimensions))
        distil_stage(training, plan, list(subnets.values()), hidden_weight, pruner(training, stage.name))
    final_stage(training, list(grid.values()))


def encode_split(checkpoint: Checkpoint, settings: Settings, rows: Sequence[Row], split: str) -> EncodedRows:
    """Tokenize the rows of a split; training rows whose answer is cut off are left out."""
    if checkpoint.heads:
        return encode_heads(
            rows,
            checkpoint.heads,
            checkpoint.tokenizer,
            max_length=settings.max_length,
            held_out=split != "train",
            weights=settings.head_weights,
        )
    return encode(
        rows,
        checkpoint.labels,
        checkpoint.tokenizer,
        max_length=settings.max_length,
        task=checkpoint.task,
        drop_cut=split == "train",
        held_out=split != "train",
        prompt=checkpoint.sentence.prompt,
    )


def _augmented(
    checkpoint: Checkpoint, settings: Settings, rows: Sequence[Row], encoded: EncodedRows, device: torch.device
) -> Callable[[], EncodedRows]:
    """Return a function that gives the training rows with `settings.augment` changed copies of each, made at its first
    call.

    Raises ModelError at once if the masked language model is unusable.
    """
    if not settings.augment:
        return lambda: encoded
    words = checkpoint.model.embeddings.word.weight.clone()  # as pretrained, in a resumed run too
    masked = find_model(settings.masked_lm) if settings.masked_lm else None
    if masked:
        masked_words(masked)  # checked only: kept, it would take memory during the teacher stage

    @functools.cache
    def made() -> EncodedRows:
        candidates = masked_words(masked, device=device) if masked else near_words(rows, checkpoint.tokenizer, words)
        copies = augment(rows, candidates, copies=settings.augment or 0, seed=settings.seed)
        return encode_split(checkpoint, settings, [*rows, *copies], "train")

    return made


def _facts(settings: Settings, encoded: Mapping[str, EncodedRows], layers: int) -> dict[str, Any]:
    """Return the settings of a run, and the counts of its rows."""
    return {
        "kept_layers": {str(depth): list(kept_layers(layers, depth)) for depth in settings.depths},
        "settings": settings.to_dict(),
        "rows": {split: len(rows) for split, rows in encoded.items()},
        "truncated_rows": {split: rows.truncated for split, rows in encoded.items()},
        "dropped_rows": encoded["train"].dropped,
        "unseen_label_rows": {split: rows.unseen for split, rows in encoded.items()},
        "max_length": settings.max_length,
    }


def _within(settings: Settings, checkpoint: Checkpoint) -> Settings:
    """Return the settings with the greatest length that an embedding model takes, if they have a greater one."""
    limit = checkpoint.sentence.max_length
    return settings if limit is None or limit >= settings.max_length else replace(settings, max_length=limit)


def _check(checkpoint: Checkpoint, settings: Settings) -> None:
    weights, heads = settings.head_weights, checkpoint.heads
    if weights and len(weights) != len(heads):
        raise InputError(f"settings: head_weights: expected one for each of {len(heads)} heads, got {len(weights)}")
    if settings.max_length > checkpoint.model.shape.positions:
        raise InputError(
            f"settings: max_length {settings.max_length} is more than the model's "
            f"{checkpoint.model.shape.positions} positions"
        )
    check_length(checkpoint.tokenizer, settings.max_length)
    prompt = prompt_tokens(checkpoint.tokenizer, checkpoint.sentence.prompt) if checkpoint.sentence.prompt else 0
    if prompt and prompt + 2 > settings.max_length:
        raise InputError(
            f"settings: max_length {settings.max_length} leaves no room for text behind the model's prompt of {prompt} "
            "tokens; raise it"
        )
    taught = objective_of(checkpoint.task).taught
    if settings.pruning is not None and settings.prune_stage == TEACHER.name and not taught:
        raise InputError(f"settings: {checkpoint.task} has no teacher stage to prune in; expected width or depth")
    for name in ("final_epochs", "label_weight"):
        if getattr(settings, name) and not taught:
            raise InputError(f"settings: {name}: an embedding has no labels to learn from; set it to 0")
    _check_dims(checkpoint, settings)
    if settings.teacher_epochs == 0 and not checkpoint.has_classifier:
        labels = ", ".join(checkpoint.labels)
        lacking = f"classifier for the labels {labels}" if labels else f"head for {checkpoint.task}"
        found = f" ({', '.join(checkpoint.lacking)}: not in its weights)" if checkpoint.lacking else ""
        raise ModelError(f"{checkpoint.source}: has no {lacking}{found}; set teacher_epochs above 0 to train one")


def _check_dims(checkpoint: Checkpoint, settings: Settings) -> None:
    """Raise InputError for dimensions that the vectors of a model cannot be cut to."""
    dims, model = settings.matryoshka_dims, checkpoint.model
    if not dims:
        return
    if checkpoint.task != "embedding":
        raise InputError(f"settings: matryoshka_dims: expected the task embedding, got {checkpoint.task}")
    width = model.head.width(model.shape.hidden)
    if dims[-1] >= width:
        raise InputError(f"settings: matryoshka_dims: expected fewer than the model's {width}, got {dims[-1]}")


def _identity(source: Path, checkpoint: Checkpoint, data: DataSet, settings: Settings) -> dict[str, Any]:
    """Return the values that must stay the same for an interrupted training to continue."""
    return {
        "settings": fixed_settings(settings.to_dict()),
        "source": str(source),
        "task": data.task,
        "labels": list(checkpoint.labels),
        "rows": data_hash(data),
        **({"heads": [head.to_dict() for head in checkpoint.heads]} if checkpoint.heads else {}),
    }
