"""The command line: parse, call, print. Everything it does can be done from Python as well."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gearshift
from gearshift import bench, commands
from gearshift.nas_arguments import add_nas
from gearshift.runtime.calibration_plan import BUDGET_S
from gearshift.runtime.errors import GearshiftError, MissingExtraError
from gearshift.runtime.manifest import CPU_PRECISIONS, PRECISIONS
from gearshift.runtime.scenarios import SCENARIOS
from gearshift.runtime.tasks import TASKS

INTERRUPTED = 130
BROKEN_PIPE = 141
"""Exit codes as shells give them to a program that SIGINT or SIGPIPE ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code: 0, 1 with one line on standard error, 2 for wrong usage."""
    options = parse(arguments)
    if options.verbose:
        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("gearshift").setLevel(logging.INFO)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except GearshiftError as error:
        print(f"gearshift: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"gearshift: interrupted{options.when_interrupted}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `gearshift inspect BUNDLE | head -1`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit fails again
        return BROKEN_PIPE


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What was typed; prints why and exits with 2 where that is no command."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    # Before Python 3.13, argparse leaves the texts that follow an option: `run BUNDLE --json TEXT`.
    place = rest.index("--") if "--" in rest else len(rest)
    texts = [*rest[:place], *rest[place + 1 :]]
    if texts and ("texts" not in options or any(text.startswith("-") and text != "-" for text in texts[:place])):
        parser.error(f"unrecognized arguments: {' '.join(texts)}")
    if texts:
        options.texts = [*options.texts, *texts]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gearshift", description=gearshift.__doc__)
    parser.add_argument("--version", action="version", version=f"gearshift {gearshift.__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is done to standard error")
    parser.set_defaults(when_interrupted="")
    listed = parser.add_subparsers(required=True, metavar="COMMAND")

    train = _command(listed, "train", commands.train, "train a supernet on your data")
    train.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DATA",
        help="folder or file of TSV, CSV or JSONL, or of plain text for embedding; hub:OWNER/NAME; glue/TASK",
    )
    train.add_argument("--model", help="directory or hub name of a BERT-class model (default: all-MiniLM-L6-v2)")
    train.add_argument("--task", choices=list(TASKS), default="classification", help="(default: %(default)s)")
    train.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="run directory to write")
    train.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings; flags go before it")
    train.set_defaults(when_interrupted="; the same command goes on from where it last saved")
    _add_columns(train)
    _add_settings(train)

    student = _command(listed, "train-dan", commands.train_dan, "distil a classifier into a DAN, the smallest gear")
    student.add_argument(
        "--teacher", type=Path, required=True, metavar="PATH", help="bundle (fastest), run or Hugging Face directory"
    )
    student.add_argument("--data", type=Path, required=True, metavar="DATA", help="folder or file of TSV, CSV or JSONL")
    student.add_argument(
        "--unlabelled",
        type=Path,
        metavar="FILE",
        help="more texts for the teacher: .txt, one a line, or as DATA",
    )
    student.add_argument("-o", "--output", type=Path, required=True, metavar="DANRUN", help="run directory to write")
    student.set_defaults(when_interrupted="; the same command goes on from where it last saved")
    _add_columns(student)
    student.add_argument(
        "--logits", type=Path, metavar="FOLDER", help="keep the teacher's answers, for other trainings"
    )
    _add_dan_settings(student)

    add_nas(listed, _command, _add_columns)

    prune = _command(listed, "prune", commands.prune, "make weights of a supernet zeros, for a smaller download")
    prune.add_argument("run", type=Path, metavar="RUN", help="run directory of `gearshift train`")
    prune.add_argument("-o", "--output", type=Path, required=True, metavar="PRUNED", help="run directory to write")
    prune.add_argument(
        "--data", type=Path, metavar="DATA", help="rows to learn from (default: those it was trained on)"
    )
    prune.add_argument(
        "--sparsity", type=float, required=True, metavar="SHARE", help="share of the weights; 0.3 to 0.4 costs little"
    )
    prune.add_argument(
        "--scope",
        choices=["matrix", "global"],
        default="matrix",
        help="matrix (default): that share of each matrix; global: the smallest of all together",
    )
    prune.add_argument("--embeddings", action="store_true", help="prune the word table too")
    prune.add_argument(
        "--ramp", type=float, default=0.5, metavar="SHARE", help="share of the steps that prune (default: %(default)g)"
    )
    prune.set_defaults(when_interrupted="; the same command goes on from where it last saved")
    _add_columns(prune)
    for name, (kind, text) in RECOVERY.items():
        prune.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=text)

    search = _command(listed, "search", commands.search, "measure the block tables of a supernet and choose its pool")
    search.add_argument("run", type=Path, metavar="RUN", help="run directory of `gearshift train`")
    search.add_argument("--data", type=Path, metavar="DATA", help="held-out rows (default: the data it was trained on)")
    search.add_argument(
        "--stages", choices=["layer", "block"], default="layer", help="what an option is of (default: %(default)s)"
    )
    search.add_argument("--block-layers", type=int, default=2, metavar="N", help="layers of a block (default: 2)")
    search.add_argument(
        "--widths", type=_multipliers, metavar="M,M", help="widths of a layer (default: those it was trained with)"
    )
    search.add_argument("--separate", action="store_true", help="heads and neurons of a layer at widths of their own")
    search.add_argument(
        "--profile", type=Path, metavar="FILE", help="choose the pool for this device (default: for several kinds)"
    )
    search.add_argument(
        "--measured", type=Path, metavar="BUNDLE", help="bundle that the profile was measured with, of this encoder"
    )
    search.add_argument("--plot", type=Path, metavar="FILE", help="picture of losses and sizes to write, .png or .svg")
    search.add_argument("--pool", type=int, default=50, metavar="N", help="subnets to choose (default: 50)")
    search.add_argument(
        "--rescored", type=int, default=200, metavar="N", help="candidates whose real loss is measured (default: 200)"
    )
    _add_columns(search)

    export = _command(listed, "export", commands.export, "write a trained supernet as a bundle")
    export.add_argument("run", type=Path, metavar="RUN", help="run directory of `gearshift train`")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="bundle directory to write")
    export.add_argument(
        "--checkpoint",
        metavar="ID",
        help="instead of a bundle, write this subnet as a Hugging Face model of its own size into the directory",
    )
    export.add_argument("--data", type=Path, metavar="DATA", help="held-out rows (default: the data it was trained on)")
    export.add_argument(
        "--precision",
        type=_precisions,
        metavar="P,P",
        help=f"some of {','.join(PRECISIONS)}; fp16 is for GPUs (default: {','.join(CPU_PRECISIONS)}; "
        "of standard operators fp32)",
    )
    export.add_argument(
        "--operators",
        choices=["fast", "standard"],
        default="fast",
        help="fast (default): with the library's own; standard: those of ONNX alone, for other engines",
    )
    export.add_argument(
        "--int8-tolerance",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="accuracy that a size may lose in int8 against fp32 before it is said (default: 0.01, a point)",
    )
    export.add_argument(
        "--wider", action="store_true", help="keep layers in fp32 within the int8 graph where it would lose more"
    )
    export.add_argument(
        "--granularity",
        choices=["layer", "block", "pool"],
        help="what is switched together: each layer alone, blocks of layers, or whole subnets (default: whole subnets, "
        f"and of more than {commands.LISTED_SUBNETS} each layer)",
    )
    export.add_argument("--block-layers", type=int, default=2, metavar="N", help="layers of a block (default: 2)")
    export.add_argument(
        "--portable",
        type=_names,
        metavar="ID,ID|all",
        help="also write these subnets, or all, as static ONNX models of their own, into BUNDLE.portable/ID",
    )
    export.add_argument("--dan", type=Path, metavar="DANRUN", help="add this DAN of `train-dan` as the smallest gear")
    export.add_argument("--dan-mb", type=float, default=30, metavar="MB", help="most megabytes of it (default: 30)")
    export.add_argument(
        "--vocabulary",
        type=_names,
        metavar="FILE,FILE|train",
        help="keep the pieces of these texts, one a line, or of the training rows; other words are spelt by smaller "
        "pieces (default: keep all)",
    )
    export.add_argument(
        "--compress", action="store_true", help="write it for the download: weights without their zeros, all deflated"
    )
    export.add_argument("--licence", default="unspecified", help="licence of the model, for its manifest")
    _add_columns(export)

    trim = _command(listed, "trim", commands.trim, "write a smaller bundle with some of a bundle's subnets")
    trim.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    trim.add_argument("-o", "--output", type=Path, required=True, metavar="SMALLER", help="bundle directory to write")
    what = trim.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--max-mb",
        type=float,
        metavar="MB",
        help="keep the most accurate subnet that fits, and as many others as fit beside it",
    )
    what.add_argument("--keep", type=_names, metavar="ID,ID", help="keep these subnets; `inspect` lists them")
    trim.add_argument("--precision", type=_precisions, metavar="P,P", help="precisions to keep (default: all)")

    trim.add_argument("--compress", action="store_true", help="write it for the download; --max-mb is of it unpacked")

    unpack = _command(listed, "unpack", commands.unpack, "write what a compressed bundle holds as a plain one")
    unpack.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory of `export --compress`")
    unpack.add_argument("-o", "--output", type=Path, required=True, metavar="PLAIN", help="bundle directory to write")

    inspect = _command(listed, "inspect", commands.inspect, "show what a bundle holds")
    inspect.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    verify = _command(listed, "verify", commands.verify, "check every file and the numbers of every subnet on this CPU")
    verify.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")

    run = _command(listed, "run", commands.run, "answer texts with a bundle")
    run.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    run.add_argument("texts", nargs="*", metavar="TEXT", help="texts; - (or none) reads one a line from standard input")
    run.add_argument(
        "--pair", action="store_true", help="texts come two by two, or as lines with a tab; a question comes first"
    )
    run.add_argument("--deadline-ms", type=float, metavar="MS", help="time that an answer may take (default: no limit)")
    run.add_argument(
        "--target", type=float, default=0.99, metavar="SHARE", help="share of deadlines to keep (default: .99)"
    )
    run.add_argument("--min-accuracy", type=float, metavar="A", help="use no subnet that is less accurate")
    run.add_argument(
        "--max-cpu-share", type=float, metavar="SHARE", help="without a deadline: share of the CPUs to take on average"
    )
    run.add_argument("--subnet", metavar="ID", help="use this subnet whatever the deadline; `inspect` lists them")
    run.add_argument(
        "--precision",
        choices=["auto", *PRECISIONS],
        default="auto",
        help="auto (default): the fastest that is right on this CPU",
    )
    run.add_argument("--threads", type=int, metavar="N", help="threads of one call (default: half of the CPUs)")
    run.add_argument("--profile", type=Path, metavar="FILE", help="latency table to use instead of measuring one")
    run.add_argument("--save-profile", type=Path, metavar="FILE", help="keep the latency table for --profile")
    run.add_argument(
        "--no-cache", action="store_false", dest="cache", help="neither use nor make packed weights on disk"
    )
    run.add_argument(
        "--cascade",
        type=float,
        metavar="SHARE",
        help="let the DAN answer where it is sure, to agree with the most accurate size on this share, such as .99",
    )
    run.add_argument("--log", type=Path, metavar="FILE", help="append one line of JSON for each request")
    run.add_argument(
        "--live", action="store_true", help="on a terminal: show rate, latency, deadlines, subnets and load as it goes"
    )

    plot = _command(listed, "plot", commands.plot, "draw a decision log: latency, deadlines, subnet and load over time")
    plot.add_argument("log", type=Path, metavar="LOG", help="what `run --log` wrote")
    plot.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="picture to write, .png or .svg")

    bench_command = _command(listed, "bench", bench.bench, "measure this device, and predict every subnet of a bundle")
    _add_bench(bench_command)

    simulate = _command(
        listed, "simulate", commands.simulate, "try policies on made-up or logged requests, with measured latencies"
    )
    simulate.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    simulate.add_argument(
        "--profile", type=Path, required=True, metavar="FILE", help="what `run --save-profile` wrote on the device"
    )
    simulate.add_argument(
        "--trace", required=True, metavar="TRACE", help="a decision log, or a name such as contention or bursts-4"
    )
    simulate.add_argument(
        "--policy", type=_names, default=("gearshift",), metavar="NAME,NAME", help="policies (default: gearshift)"
    )
    simulate.add_argument("--precision", type=_precisions, metavar="P,P", help="precisions (default: the fastest)")
    simulate.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the table (default: 1)")
    simulate.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another trace for another seed (default: 0)"
    )
    simulate.add_argument("--seconds", type=float, default=120.0, metavar="S", help="length (default: 120)")

    doctor = _command(listed, "doctor", commands.doctor, "show what this device has, and what to change")
    doctor.add_argument("--clear-cache", action="store_true", help="remove what `run` and the engine keep on disk")
    return parser


def _command(
    listed: Any, name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = listed.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    # Also after the command; without a default, which would overwrite what was given before it.
    parser.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.set_defaults(command=function)
    return parser


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PROFILE", help="profile to write (default: where the engine finds it)"
    )
    parser.add_argument(
        "--budget", type=bench.seconds, default=BUDGET_S, metavar="TIME", help="time for it all (default: 60s)"
    )
    parser.add_argument(
        "--lengths", "--seq", type=_whole_numbers, metavar="N,N", help="tokens of a text (default: 16,64,128)"
    )
    parser.add_argument(
        "--threads", type=_whole_numbers, metavar="N,N", help="threads (default: 1, 2, 4 ... up to the CPUs)"
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="texts of a call (default: 1)")
    parser.add_argument("--precision", type=_precisions, metavar="P,P", help="precisions to time (default: all)")
    parser.add_argument("--deadline-ms", type=float, metavar="MS", help="deadline to look at, and a server's bound")
    parser.add_argument("--report", type=Path, metavar="FILE", help="page to write, HTML with everything in it")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="pictures to write, .svg or (needs matplotlib) .png")
    parser.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="DEVICE",
        help="side by side with devices: profile files, names of boards, or `boards` for all that ship, which are "
        f"estimated; or `{bench.DEDICATED}`: with a graph of the same operators for each subnet alone",
    )
    parser.add_argument(
        "--scenario", choices=SCENARIOS, help="run one subnet under a load as MLPerf defines it, instead"
    )
    parser.add_argument("--soak", type=bench.seconds, metavar="TIME", help="then run one subnet for so long, as 30m")
    parser.add_argument("--subnet", metavar="ID", help="subnet of --scenario and --soak (default: the largest)")
    parser.add_argument(
        "--rounds", type=int, default=20, metavar="N", help=f"timed calls of --compare {bench.DEDICATED} (default: 20)"
    )


def _add_columns(parser: argparse.ArgumentParser) -> None:
    for name, text in (
        ("text", "column of the text (default: sentence; the words: tokens; the question: question)"),
        ("pair", "column of the second text, read where it is there (default: sentence2; the context: context)"),
        ("label", "column of the label (default: label; numbers: label or score; ner_tags or tags; answers)"),
    ):
        parser.add_argument(f"--{name}-column", default="", metavar="NAME", help=text)


def _multipliers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected numbers with commas between them, such as 1,0.5, got {text!r}"
        ) from error


def _precisions(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not set(names) <= set(PRECISIONS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(PRECISIONS)}, got {text!r}")
    return names


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers with commas between them, such as 16,64, got {text!r}"
        ) from error


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


SETTINGS: dict[str, tuple[Callable[[str], object], str]] = {
    "widths": (_multipliers, "width multipliers"),
    "depths": (_multipliers, "depth multipliers"),
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


RECOVERY: dict[str, tuple[Callable[[str], object], str]] = {
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


DAN_SETTINGS: dict[str, tuple[Callable[[str], object], str]] = {
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
    "max_length": (int, "tokens that the teacher reads of a text (default: as it was trained; a bundle's own)"),
    "save_every_s": (float, "seconds that an interruption loses at most"),
    "seed": (int, "what all random numbers follow from"),
}
"""Field of `trainer.dan_settings.DanSettings` -> how its flag is read, and what it says."""


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Those of `trainer.settings`."""

    def defaults() -> dict[str, Any]:
        from gearshift.trainer.settings import Settings

        return Settings().to_dict()

    _add_flags(parser, SETTINGS, defaults)


def _add_dan_settings(parser: argparse.ArgumentParser) -> None:
    """Those of `trainer.dan_settings`."""

    def defaults() -> dict[str, Any]:
        from gearshift.trainer.dan_settings import DanSettings

        return vars(DanSettings())

    _add_flags(parser, DAN_SETTINGS, defaults)


def _add_flags(
    parser: argparse.ArgumentParser, flags: dict[str, tuple[Callable[[str], object], str]], read: Callable[[], Any]
) -> None:
    """One flag for every setting; the defaults stay in the trainer, and are shown where that is installed."""
    try:
        defaults = read()
    except MissingExtraError:
        defaults = {}
    group = parser.add_argument_group("settings")
    for name, (kind, text) in flags.items():
        flag, default = f"--{name.replace('_', '-')}", defaults.get(name)
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=_with_default(text, default))
        else:
            shape = "M,M" if kind is _multipliers else "NAME" if kind is str else "N"
            group.add_argument(flag, type=kind, metavar=shape, help=_with_default(text, default))


def _with_default(text: str, default: Any) -> str:
    """A help text with the default as one would type it, where that is known."""
    if default is None:
        return text
    if isinstance(default, bool):
        return f"{text} (default: {'yes' if default else 'no'})"
    if isinstance(default, str):
        return f"{text} (default: {default})" if default else text
    shown = ",".join(f"{part:g}" for part in default) if isinstance(default, tuple) else f"{default:g}"
    return f"{text} (default: {shown})"


if __name__ == "__main__":
    sys.exit(main())
