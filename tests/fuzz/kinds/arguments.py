"""Arguments of the command line: every command with a usual call, of which arguments are others, gone, or there twice.

Right is exit code 0, or 1 or 2 with one line on standard error; never a traceback. Models are named that are nowhere,
so that no training begins; the folder of the call is the case's own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
from pathlib import Path

import datasets.config
import huggingface_hub.constants

from gearshift.__main__ import COMMANDS, main
from gearshift.errors import GearshiftError
from gearshift.server import serving
from tests.fuzz import answers
from tests.fuzz.kinds import logs, profiles
from tests.fuzz.outcome import Kind

ARGUMENTS = "arguments.json"
TABLE = "text\tlabel\n" + "".join(f"word {number} here\t{'on' if number % 2 else 'off'}\n" for number in range(40))

RUN = "no-such-run"
MODEL = "no-such-model"

CALLS: dict[str, list[str]] = {
    "train": ["--data", "data", "--model", MODEL, "-o", "out", "--widths", "1,0.5", "--batch-size", "8", "--seed", "1"],
    "train-dan": ["--teacher", RUN, "--data", "data", "-o", "out", "--width", "20", "--epochs", "1"],
    "prune": [RUN, "-o", "out", "--sparsity", "0.5", "--scope", "matrix", "--epochs", "1"],
    "search": [RUN, "--data", "data", "--stages", "block", "--block-layers", "2", "--pool", "4"],
    "nas-search": ["--model", MODEL, "--text", "texts.txt", "-o", "out", "--sizes", "4,8", "--buckets", "2"],
    "nas-operations": ["-o", "out", "--sizes", "4,8", RUN],
    "nas-train": [RUN, "-o", "out", "--parameters", "1e6", "--length", "16", "--text", "texts.txt", "--model", MODEL],
    "nas-tune": [RUN, "--data", "data", "-o", "out", "--epochs", "1", "--lr", "1e-4"],
    "export": [RUN, "-o", "out", "--precision", "fp32,int8", "--operators", "fast", "--licence", "MIT"],
    "hub": [RUN, "bundle.gearshift", "-o", "out", "--precision", "int8", "--threads", "1"],
    "trim": ["bundle.gearshift", "-o", "out", "--keep", "w025-d050", "--precision", "int8"],
    "unpack": ["bundle.gearshift", "-o", "out"],
    "sign": ["bundle.gearshift", "--key", "no-such-key", "--version", "3"],
    "inspect": ["bundle.gearshift", "--json"],
    "verify": ["bundle.gearshift"],
    "vectors": ["bundle.gearshift", "-o", "out"],
    "embed": ["bundle.gearshift", "-o", "out"],
    "look-up": ["bundle.gearshift", "--latency-ms", "5", "--parameters", "1e6", "--length", "16", "--count", "2"],
    "run": ["bundle.gearshift", "turn it on", "--threads", "1", "--profile", "profile.json", "--no-cache",
            "--precision", "int8", "--deadline-ms", "50", "--log", "log.out", "--target", "0.9"],
    "serve": ["bundle.gearshift", "--port", "0", "--threads", "1", "--profile", "profile.json", "--no-cache",
              "--texts", "16", "--grace-s", "1"],
    "rank": ["bundle.gearshift", "a query", "turn it on", "--threads", "1", "--profile", "profile.json", "--no-cache",
             "--precision", "int8", "--deadline-ms", "50"],
    "plot": ["log.jsonl", "-o", "plot.bmp"],
    "bench": ["no-such-bundle", "-o", "out.json", "--budget", "1s", "--lengths", "8", "--threads", "1",
              "--rounds", "1"],
    "simulate": ["bundle.gearshift", "--profile", "profile.json", "--trace", "steady", "--policy", "gearshift",
                 "--precision", "int8", "--threads", "1", "--seed", "1", "--seconds", "1"],
    "doctor": ["--json"],
}  # fmt: skip
"""Command -> usual arguments."""

IMPORTS = (
    "gearshift.trainer.dynabert.train",
    "gearshift.trainer.dan.train",
    "gearshift.trainer.nasbert.train",
    "gearshift.export.pipeline",
    "transformers",
)

SLOW = {
    "doctor": 0.2, "run": 0.5, "rank": 0.5, "serve": 0.5, "trim": 0.3, "verify": 0.5, "vectors": 0.2, "embed": 0.2,
    "plot": 0.5,
}  # fmt: skip
"""Command -> share of its cases that are called: those that take long, or change nothing, are rarer."""

NUMBERS = ("0", "-1", "1", "3", "1000000", "2147483648", "9223372036854775807", "9223372036854775808", "1e3", "1e-9",
           "0.5", "1.5", "-0.5", "1e308", "1e999", "nan", "inf", "-inf", "0x10", "1_0", "\u0661", "9" * 5000,
           "1,2", "1,,2", ",", "1,nan", "0,0")  # fmt: skip
TEXTS = ("", " ", "-", "--", "=", "x", "x" * 5000, "a\nb", "\x1b[31m", "\u202e", "\ud800", "\udcff", "%s %(prog)s",
         "@file", "*", "'", '"', "all", "auto", "hub:a/b", "hub:", "glue/", "glue/x", "file://x",
         "\u6f22\u5b57")  # fmt: skip
PATHS = ("", ".", "..", "data", "data/train.tsv", "texts.txt", "bundle.gearshift", "bundle.gearshift/manifest.json",
         "profile.json", "log.jsonl", "/dev/null", "/dev/full", "nothing/here", "x" * 300, "texts.txt/x", "empty",
         "out.svg", "out.png", "link", "plot.xyz", "\udcff")  # fmt: skip
FLAGS = ("--json", "-v", "--help", "--version", "-o", "--output", "--data", "--seed", "--threads", "--task",
         "--precision", "--text-column", "--label-names", "--strict-labels", "--config", "--no", "--pair", "--live",
         "--subnet", "--cascade", "--min-accuracy", "--max-cpu-share", "--on-miss", "--null-threshold", "--plot",
         "--report", "--compare", "--compress", "--max-mb", "--clear-cache", "--profile", "--length", "--sizes",
         "--mixed-precision", "--sampling", "--augment", "--checkpoint", "--dan", "--vocabulary", "--key",
         "--new-key", "--host", "--port", "--socket", "--token-file", "--texts", "--public-key",
         "--version", "--name", "--vectors",
         "--portable")  # fmt: skip


assert set(CALLS) == set(COMMANDS), "a usual call of every command"


def prepare(base: Path) -> None:
    profiles.prepare(base)
    logs.prepare(base)


def make(base: Path, case: Path, source: random.Random) -> bool:
    answers.copy_bundle(base / answers.BUNDLE, case / "bundle.gearshift")
    for name in (profiles.PROFILE, logs.LOG):
        (case / name).write_bytes((base / name).read_bytes())
    (case / "data").mkdir()
    (case / "empty").mkdir()
    (case / "link").symlink_to("nothing")
    (case / "data" / "train.tsv").write_text(TABLE)
    (case / "texts.txt").write_text("a text\n" * 30)
    while (name := source.choice(list(CALLS))) and source.random() > SLOW.get(name, 1.0):
        pass
    (case / ARGUMENTS).write_text(json.dumps(changed(name, source)))
    return True


def changed(name: str, source: random.Random) -> list[str]:
    """Return a call of a command with one to three changes."""
    call = [name, *CALLS[name]]
    for _ in range(source.choice((1, 1, 2, 3))):
        place = source.randrange(1, len(call) + 1)
        other = source.choice(source.choice((NUMBERS, TEXTS, PATHS, PATHS)))
        kind = source.random()
        if kind < 0.55 and place < len(call):
            number = call[place].replace(".", "").replace(",", "").replace("e", "").isdigit()
            call[place] = source.choice(NUMBERS) if number and source.random() < 0.8 else other
        elif kind < 0.65:
            del call[place : place + source.choice((1, 2))]
        elif kind < 0.75:
            call.insert(place, source.choice(FLAGS))
        elif kind < 0.9:
            call[place:place] = [source.choice(FLAGS), other]
        elif kind < 0.95:
            call.insert(place, other)
        else:
            call[0] = source.choice((*COMMANDS, "", "x", "-v", "--help", "--version", "tra", other))
    return call if source.random() < 0.98 else call * 500


def used(base: Path, case: Path) -> bool:
    """Call the command; raise its one line as an error if it refuses the call."""
    call = json.loads((case / ARGUMENTS).read_bytes())
    for variable in ("HOME", "GEARSHIFT_CACHE_DIR", "GEARSHIFT_PROFILE_DIR", "XDG_CACHE_HOME", "HF_HOME"):
        os.environ[variable] = str(case / "home" / variable)
    os.environ["PIP_NO_INDEX"] = "1"  # which the default model would come from
    huggingface_hub.constants.HF_HUB_OFFLINE = True  # the variable was read when it was imported
    datasets.config.HF_HUB_OFFLINE = True
    serving.serve = lambda *_: None  # a server that started well waits for clients for good
    (case / "home").mkdir(mode=0o700)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(case), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: object = main(call)
        except SystemExit as ended:
            code = ended.code
    if code == 0:
        return True
    told = err.getvalue()
    lines = [line for line in told.split("\n") if line]
    complaints = [line for line in lines if line.startswith("gearshift: ")]  # others tell of progress
    assert code in (1, 2) and complaints == lines[-1:] and "Traceback" not in told, (code, call, told)
    raise GearshiftError(lines[-1])


KINDS = (Kind("arguments", make, used, prepare, weight=12, imports=IMPORTS),)
