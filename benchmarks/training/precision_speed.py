"""Cost of a step of supernet training against a step of plain fine-tuning, in fp32 and in bf16.

    python -m benchmarks.training.precision_speed [--tokens 16,64] [--rounds 7] [--device cuda]

MiniLM-L6's shape with random weights, 32 rows a step, one thread; the kinds of step take turns in one process, after a
warm-up of two rounds.
A step is forward, backward and AdamW; supernet steps include the teacher's pass. On a GPU fp32 is TF32, and a step ends
when the GPU has finished it.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from tqdm import tqdm

from benchmarks.graph.subjects import SHAPES
from benchmarks.report import save
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.learning.distillation import Teacher, distill_loss
from gearshift.trainer.learning.losses import label_loss
from gearshift.trainer.learning.sampling import Sampler
from gearshift.trainer.model.elastic import ElasticClassifier

PROGRAM = "python -m benchmarks.training.precision_speed"
ROWS, LABELS = 32, 2
WARM_UP = 2
SHAPE = SHAPES["minilm-l6"]
GRID = tuple(sorted(uniform_grid(SHAPE).values(), key=lambda one: one.parameters(SHAPE), reverse=True))


@dataclass(frozen=True)
class Kind:
    """A way to train."""

    name: str
    sampler: Sampler | None
    """Sampler of the subnets of a step; None: plain fine-tuning of the full model on labels."""
    dropout: bool = True
    freeze_embeddings: bool = False


KINDS = (
    Kind("plain fine-tuning", None),
    Kind("sandwich: largest, smallest, one random", Sampler(GRID)),
    Kind("the same, no dropout, frozen embeddings", Sampler(GRID), dropout=False, freeze_embeddings=True),
    Kind("all 12 subnets", Sampler(GRID, "all")),
)


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.precision_speed", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--tokens", default="16,64")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = True
    lengths = [int(tokens) for tokens in options.tokens.split(",")]
    measured: dict[tuple[str, str, int], list[float]] = {}
    makers = {kind.name: make_step(kind, options.device) for kind in KINDS}
    batches = {tokens: make_batch(tokens).to(options.device) for tokens in lengths}
    turns = [(kind.name, precision, tokens) for kind in KINDS for precision in ("fp32", "bf16") for tokens in lengths]
    for number in tqdm(range(WARM_UP + options.rounds), desc="rounds", disable=None):
        for kind_name, precision, tokens in turns:
            began = time.perf_counter()
            makers[kind_name](number, precision, batches[tokens])
            if options.device == "cuda":
                torch.cuda.synchronize()
            if number >= WARM_UP:
                key = (kind_name, precision, tokens)
                measured.setdefault(key, []).append(time.perf_counter() - began)
    medians = {key: statistics.median(times) for key, times in measured.items()}
    lines = [
        f"| {ROWS} rows a step | " + " | ".join(f"{p}, {t} tokens" for t in lengths for p in ("fp32", "bf16")) + " |",
        "|---|" + "---|" * (2 * len(lengths)),
    ]
    for kind in KINDS:
        cells = []
        for tokens in lengths:
            for precision in ("fp32", "bf16"):
                own, plain = medians[kind.name, precision, tokens], medians[KINDS[0].name, precision, tokens]
                cells.append(f"{1 / own:.2f} steps/s ({own / plain:.2f} x)")
        lines.append(f"| {kind.name} | " + " | ".join(cells) + " |")
    told = "" if options.device == "cpu" else f" --device {options.device}"
    facts = {
        "command": f"{PROGRAM} --tokens {options.tokens} --rounds {options.rounds}{told}",
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if options.device == "cuda" else None,
        "seconds": [
            {"kind": kind, "precision": precision, "tokens": tokens, "times": [round(one, 4) for one in times]}
            for (kind, precision, tokens), times in measured.items()
        ],
    }
    save("training-precision" if options.device == "cpu" else "training-precision-gpu", facts, lines)


def make_batch(tokens: int) -> Batch:
    """Return random rows of that many tokens, without padding."""
    ids = torch.randint(0, SHAPE.vocabulary, (ROWS, tokens))
    labels = torch.randint(0, LABELS, (ROWS,))
    return Batch(ids, torch.ones_like(ids), torch.zeros_like(ids), labels, torch.arange(ROWS))


def make_step(kind: Kind, device: str) -> Callable[[int, str, Batch], None]:
    """Return a function that does one step, from its number, the precision and the batch."""
    torch.manual_seed(0)
    model = ElasticClassifier(SHAPE, LABELS).train(kind.dropout).to(device)
    model.embeddings.requires_grad_(not kind.freeze_embeddings)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, 1e-5, fused=True)

    def step(number: int, precision: str, batch: Batch) -> None:
        def autocast() -> contextlib.AbstractContextManager[None]:
            return torch.autocast(device, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()

        teacher.autocast = autocast
        targets = teacher.teach(batch)
        for subnet in [model.full] if kind.sampler is None else kind.sampler.draw(number):
            with autocast():
                output = model(batch, subnet)
            if kind.sampler is None:
                loss = label_loss(output.logits, batch)
            else:
                loss = distill_loss(output, targets.of(subnet), batch, subnet, task="classification")
            loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    teacher = Teacher(model)
    return step


if __name__ == "__main__":
    main()
