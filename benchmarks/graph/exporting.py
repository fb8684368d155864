"""Duration of a complete export: both precisions, parity, packing and self-tests.

    python -m benchmarks.graph.exporting [--shape minilm-l6] [--rows 100]

A supernet with random weights and DynaBERT's twelve uniform subnets; parity against torch for every one of them, and
the accuracy of all twelve at both precisions on the rows. One core.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tqdm import tqdm

from benchmarks.graph.subjects import LABELS, SHAPES
from benchmarks.report import save
from gearshift.export.pipeline import export_bundle
from gearshift.runtime.profiles.timing import pin
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.rows import Row
from gearshift.trainer.model.checkpoint import Checkpoint
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.run import Run

WORDS_OF_A_ROW = (8, 40)


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph.exporting", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--rows", type=int, default=100, help="held-out rows")
    options = parser.parse_args()
    cores = pin()
    torch.set_num_threads(1)
    seconds, parity = {}, {}
    for granularity, layers in (("layer", 1), ("pool", SHAPES[options.shape].layers)):
        seconds[granularity], parity[granularity] = measure(SHAPES[options.shape], options.rows, layers)
    facts = {
        "command": f"python -m benchmarks.graph.exporting --shape {options.shape} --rows {options.rows}",
        "cores": cores,
        "subnets": len(uniform_grid(SHAPES[options.shape])),
        "rows": options.rows,
        "seconds": seconds,
        "parity": parity,
    }
    save(f"exporting-{options.shape}", facts, table(options.shape, options.rows, seconds, parity))


def measure(shape: EncoderShape, rows: int, layers: int) -> tuple[float, float]:
    """Measure the seconds of one export of both precisions, and the largest difference of an fp32 logit from torch."""
    with tempfile.TemporaryDirectory() as scratch, tqdm(disable=None, unit="part") as bar:
        run, held_out = random_run(shape, Path(scratch)), random_rows(shape, rows)

        def show(what: str, done: int, total: int) -> None:
            bar.set_description(f"{what} {done}/{total}")

        began = time.perf_counter()
        report = export_bundle(run, Path(scratch) / "x.gearshift", held_out, layers_per_stage=layers, progress=show)
        assert report.parity is not None
        return time.perf_counter() - began, report.parity


def random_run(shape: EncoderShape, folder: Path) -> Run:
    """Return an untrained supernet, with a tokenizer of as many words as the vocabulary has."""
    torch.manual_seed(0)
    special = ["[PAD]", "[UNK]"]
    words = special + [f"w{number}" for number in range(shape.vocabulary - len(special))]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(special)
    labels = tuple(f"label {number}" for number in range(LABELS))
    checkpoint = Checkpoint(ElasticClassifier(shape, LABELS), tokenizer, labels, folder, True)
    return Run(folder, checkpoint, uniform_grid(shape), {}, {"max_length": 128})


def random_rows(shape: EncoderShape, count: int) -> list[Row]:
    """Return rows of random words and labels."""
    source = random.Random(0)
    texts = [
        " ".join(f"w{source.randrange(shape.vocabulary - 2)}" for _ in range(source.randint(*WORDS_OF_A_ROW)))
        for _ in range(count)
    ]
    return [Row(text, None, f"label {number % LABELS}") for number, text in enumerate(texts)]


def table(shape: str, rows: int, seconds: dict[str, float], parity: dict[str, float]) -> list[str]:
    """Format a row per granularity as Markdown."""
    lines = [
        f"### {shape}: export of fp32 and int8 with parity of 12 subnets and accuracies on {rows} rows",
        "",
        "| stage | seconds | largest difference of a logit from torch |",
        "|---|---|---|",
    ]
    return [*lines, *(f"| {name} | {took:.1f} | {parity[name]:.1e} |" for name, took in seconds.items())]


if __name__ == "__main__":
    main()
