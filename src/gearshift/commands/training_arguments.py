"""The arguments of the commands that train, prune and search."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gearshift.commands import training_commands
from gearshift.commands.options import GOES_ON, Flags, add_columns, add_flags, command, multipliers
from gearshift.runtime.bundle.tasks import TASKS

SETTINGS: Flags = {
    "widths": (multipliers, "width multipliers"),
    "depths": (multipliers, "depth multipliers"),
    "max_length": (int, "tokens of a text; longer ones are cut"),
    "batch_size": (int, "rows of a training step, of each process"),
    "micro_batch": (int, "rows that are computed at once where memory is short, 0 for all of a step"),
    "teacher_epochs": (
        float,
        "epochs of the teacher stage: the full encoder learns the task; 0 keeps its head; none for embedding",
    ),
    "width_epochs": (float, "epochs of the width stage: every width learns from the teacher"),
    "depth_only_epochs": (float, "epochs of a stage between, of every depth at full width (progressive shrinking)"),
    "depth_epochs": (float, "epochs of the depth stage: every width x depth does"),
    "final_epochs": (float, "epochs of a last stage, in which every width x depth learns from the labels"),
    "teacher_lr": (float, "peak learning rate of the teacher stage"),
    "head_lr_factor": (float, "learning rate of the task head / that of the encoder, in the teacher stage"),
    "width_lr": (float, "peak learning rate of the width stage"),
    "depth_lr": (float, "peak learning rate of the stages with depths"),
    "final_lr": (float, "peak learning rate of the last stage"),
    "warmup": (float, "share of a stage's steps in which the learning rate rises"),
    "weight_decay": (float, "weight decay of AdamW"),
    "clip": (float, "largest norm of a step's gradient"),
    "logit_weight": (float, "weight of the loss on the teacher's answers"),
    "width_hidden_weight": (float, "weight of the hidden-state loss beside it, in the width stage"),
    "depth_hidden_weight": (float, "the same in the depth stage"),
    "in_place": (bool, "subnets learn from the full net as it is at that step, and it alone from the teacher"),
    "same_width_teacher": (bool, "a subnet learns from the full-depth net of its own width, rather than the full net"),
    "distil_dropout": (bool, "subnets have dropout while they are distilled"),
    "freeze_embeddings": (bool, "leave the embeddings as they were pretrained, which takes less time"),
    "sampling": (str, "subnets of a step: sandwich (largest, smallest, some random ones), all, or random"),
    "random_subnets": (int, "random subnets of a step, of sandwich and random"),
    "mixed_widths": (bool, "every layer of a random subnet has a width of its own, which `search` profits from"),
    "importance_rows": (int, "training rows on which heads and neurons are ranked"),
    "augment": (int, "changed copies of each training row that distillation has beside it"),
    "masked_lm": (str, "masked language model that proposes their words, in place of neighbours in the word table"),
    "evaluate_every": (float, "epochs between evaluations on dev rows, whose best weights are kept; 0 for never"),
    "patience": (int, "evaluations without gain that end a stage early; 0 for never"),
    "mixed_precision": (str, "no, bf16, fp16 or auto, in place of what `accelerate launch` says"),
    "tensorboard": (bool, "write losses and scores for TensorBoard into RUN.tensorboard"),
    "sparsity": (float, "share of the weights that become zeros, for `export --compress`; .3 to .4 costs little"),
    "prune_stage": (str, "stage in which they do: teacher, width or depth"),
    "prune_scope": (str, "matrix: that share of each; global: the smallest of all"),
    "prune_embeddings": (bool, "the word table too"),
    "prune_ramp": (float, "share of the stage's steps in which zeros become more"),
    "save_every_s": (float, "seconds that an interruption loses at most"),
    "seed": (int, "what all random numbers follow from"),
}
"""Field of `trainer.settings.Settings` -> how its flag is read, and what it says."""


RECOVERY: Flags = {
    "epochs": (float, "epochs in which every subnet learns from the full net as it was (default: 1)"),
    "lr": (float, "peak learning rate"),
    "batch_size": (int, "rows of a training step"),
    "random_subnets": (int, "subnets of a step besides the largest and the smallest"),
    "hidden_weight": (float, "weight of the hidden-state loss beside the logit loss"),
    "mixed_precision": (str, "no, bf16, fp16 or auto, in place of what `accelerate launch` says"),
    "save_every_s": (float, "seconds that an interruption loses at most"),
    "seed": (int, "what all random numbers follow from"),
}
"""Field of `trainer.prune.Recovery` -> how its flag is read, and what it says."""


DAN_SETTINGS: Flags = {
    "table_parameters": (int, "most numbers of the table, up to 1000000000"),
    "width": (int, "numbers of an embedding"),
    "hidden": (int, "neurons of the hidden layer"),
    "longest": (int, "words of the longest n-gram, 1 to 4"),
    "epochs": (float, "epochs of distillation, over labelled and unlabelled texts"),
    "finetune_epochs": (float, "epochs on the labels afterwards"),
    "unlabelled_only": (bool, "learn from the unlabelled texts alone, not from the rows of the data"),
    "batch_size": (int, "texts of a training step"),
    "table_lr": (float, "learning rate of the table"),
    "lr": (float, "learning rate of the layers"),
    "dropout": (float, "share of dropped features"),
    "ngram_dropout": (float, "share of a text's n-grams that a step leaves out, where it learns them by heart"),
    "max_length": (int, "tokens that the teacher reads of a text (default: as it was trained; a bundle's own)"),
    "save_every_s": (float, "seconds that an interruption loses at most"),
    "seed": (int, "what all random numbers follow from"),
}
"""Field of `trainer.dan_settings.DanSettings` -> how its flag is read, and what it says."""


def add_training(listed: Any) -> None:
    """Add these commands to those that are listed."""
    _add_train(listed)
    _add_train_dan(listed)
    _add_prune(listed)
    _add_search(listed)


def _add_train(listed: Any) -> None:
    parser = command(listed, "train", training_commands.train, "train a supernet on your data")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DATA",
        help="folder or file of TSV, CSV or JSONL, or of plain text for embedding; hub:OWNER/NAME; glue/TASK",
    )
    parser.add_argument("--model", help="directory or hub name of a BERT-class model (default: all-MiniLM-L6-v2)")
    parser.add_argument("--task", choices=list(TASKS), default="classification", help="(default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="run directory to write")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings; flags go before it")
    parser.set_defaults(when_interrupted=GOES_ON)
    add_columns(parser)
    _add_settings(parser)


def _add_train_dan(listed: Any) -> None:
    parser = command(
        listed, "train-dan", training_commands.train_dan, "distil a classifier into a DAN, the smallest gear"
    )
    parser.add_argument(
        "--teacher", type=Path, required=True, metavar="PATH", help="bundle (fastest), run or Hugging Face directory"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="folder or file of TSV, CSV or JSONL")
    parser.add_argument(
        "--unlabelled",
        type=Path,
        metavar="FILE",
        help="more texts for the teacher: .txt, one a line, or as DATA",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DANRUN", help="run directory to write")
    parser.set_defaults(when_interrupted=GOES_ON)
    add_columns(parser)
    parser.add_argument("--logits", type=Path, metavar="FOLDER", help="keep the teacher's answers, for other trainings")
    _add_dan_settings(parser)


def _add_prune(listed: Any) -> None:
    parser = command(
        listed, "prune", training_commands.prune, "make weights of a supernet zeros, for a smaller download"
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory of `gearshift train`")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PRUNED", help="run directory to write")
    parser.add_argument(
        "--data", type=Path, metavar="DATA", help="rows to learn from (default: those it was trained on)"
    )
    parser.add_argument(
        "--sparsity", type=float, required=True, metavar="SHARE", help="share of the weights; 0.3 to 0.4 costs little"
    )
    parser.add_argument(
        "--scope",
        choices=["matrix", "global"],
        default="matrix",
        help="matrix (default): that share of each matrix; global: the smallest of all together",
    )
    parser.add_argument("--embeddings", action="store_true", help="prune the word table too")
    parser.add_argument(
        "--ramp", type=float, default=0.5, metavar="SHARE", help="share of the steps that prune (default: %(default)g)"
    )
    parser.set_defaults(when_interrupted=GOES_ON)
    add_columns(parser)
    for name, (kind, text) in RECOVERY.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=text)


def _add_search(listed: Any) -> None:
    parser = command(
        listed, "search", training_commands.search, "measure the block tables of a supernet and choose its pool"
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory of `gearshift train`")
    parser.add_argument("--data", type=Path, metavar="DATA", help="held-out rows (default: the data it was trained on)")
    parser.add_argument(
        "--stages", choices=["layer", "block"], default="layer", help="what an option is of (default: %(default)s)"
    )
    parser.add_argument("--block-layers", type=int, default=2, metavar="N", help="layers of a block (default: 2)")
    parser.add_argument(
        "--widths", type=multipliers, metavar="M,M", help="widths of a layer (default: those it was trained with)"
    )
    parser.add_argument("--separate", action="store_true", help="heads and neurons of a layer at widths of their own")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="choose the pool for this device (default: for several kinds)"
    )
    parser.add_argument(
        "--measured", type=Path, metavar="BUNDLE", help="bundle that the profile was measured with, of this encoder"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture of losses and sizes to write, .png or .svg")
    parser.add_argument("--pool", type=int, default=50, metavar="N", help="subnets to choose (default: 50)")
    parser.add_argument(
        "--rescored", type=int, default=200, metavar="N", help="candidates whose real loss is measured (default: 200)"
    )
    add_columns(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Those of `trainer.settings`."""

    def defaults() -> dict[str, Any]:
        from gearshift.trainer.dynabert.settings import Settings

        return Settings().to_dict()

    add_flags(parser, SETTINGS, defaults)


def _add_dan_settings(parser: argparse.ArgumentParser) -> None:
    """Those of `trainer.dan_settings`."""

    def defaults() -> dict[str, Any]:
        from gearshift.trainer.dan.settings import DanSettings

        return vars(DanSettings())

    add_flags(parser, DAN_SETTINGS, defaults)
