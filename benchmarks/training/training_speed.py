"""Steps a second and subnet steps an hour of each mix of subnets, with and without what makes a step cheaper.

    python -m benchmarks.training.training_speed [--tokens 14,30] [--rounds 7]

MiniLM-L6's shape with random weights, 32 rows a step without padding, one thread, fp32, CPU time. The parts of a step
take turns in one process, after a warm-up of a round: the teacher's pass, reading its output where it is kept, forward
and backward pass of each of the 12 subnets, gradient clipping and AdamW. A step of a mix is the sum of the medians of
its parts, averaged over the draws of many steps; whole steps of two mixes are timed beside as a check.
A subnet step is one subnet's passes, with its share of teacher and update.

`before` is how every step was: embeddings learn, and the teacher runs. `frozen` leaves the embeddings as they are.
`kept` reads the teacher's output, as a stage does for rows that it sees again.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.graph.subjects import SHAPES
from benchmarks.report import markdown, save
from benchmarks.training.precision_speed import make_batch
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.learning.distillation import Targets, Teacher, distill_loss
from gearshift.trainer.learning.sampling import Sampler
from gearshift.trainer.learning.teacher_states import Wanted, teacher_states
from gearshift.trainer.model.elastic import ElasticClassifier

SHAPE = SHAPES["minilm-l6"]
LABELS = 6
GRID = tuple(sorted(uniform_grid(SHAPE).values(), key=lambda one: one.parameters(SHAPE), reverse=True))
DRAWS = 400
"""Number of steps whose draws make the mean step."""

MIXES = {
    "sandwich, 1 random": Sampler(GRID, "sandwich", 1),
    "sandwich, 2 random": Sampler(GRID, "sandwich", 2),
    "anchored, 1": Sampler(GRID, "anchored", 1),
    "anchored, 2": Sampler(GRID, "anchored", 2),
    "random, 2": Sampler(GRID, "random", 2),
    "all 12": Sampler(GRID, "all"),
}
WHOLE = ("sandwich, 1 random", "anchored, 2")
"""Mixes whose steps are timed as a whole too."""

WAYS = {"before": (False, False), "frozen": (True, False), "frozen and kept": (True, True)}
"""Whether embeddings are frozen, and the teacher's output is kept, by name."""


@dataclass(frozen=True)
class StepParts:
    """CPU seconds of the parts of a step."""

    teacher: float
    kept: float
    """Seconds of reading the teacher's output."""
    update: float
    subnets: dict[Subnet, float]

    def step(self, sampler: Sampler, *, kept: bool = False) -> tuple[float, float]:
        """Return the mean seconds of a step of a mix, and the mean number of its subnets."""
        drawn = [sampler.draw(number) for number in range(DRAWS)]
        passes = statistics.mean(sum(self.subnets[one] for one in step) for step in drawn)
        return (self.kept if kept else self.teacher) + passes + self.update, statistics.mean(map(len, drawn))


class Steps:
    """A model with its teacher and optimizer, whose parts of a step can be run one by one."""

    def __init__(self, model: ElasticClassifier, batch: Batch, task: str, kept: Teacher | None = None) -> None:
        self.model, self.batch, self.task, self.kept = model.eval(), batch, task, kept
        self.learning = [weight for weight in model.parameters() if weight.requires_grad]
        self.teacher = Teacher(model)
        self.optimizer = torch.optim.AdamW(self.learning, 0.0, weight_decay=0.0, fused=True)  # the weights stay
        self.targets = self.teacher.teach(batch)
        self.targets.of(model.full)

    def parts(self, subnets: Sequence[Subnet]) -> dict[str | Subnet, Callable[[], object]]:
        """Return the parts of a step by name or subnet; those of the subnets come before the update."""
        return {
            "teacher": lambda: self.teacher.teach(self.batch).of(self.model.full),
            **({} if self.kept is None else {"kept": functools.partial(self.kept.output, self.batch, self.model.full)}),
            **{subnet: functools.partial(self.passes, subnet, self.targets) for subnet in subnets},
            "update": self.update,
        }

    def passes(self, subnet: Subnet, targets: Targets) -> None:
        """Run the forward and backward pass of a subnet."""
        output = self.model(self.batch, subnet)
        loss = distill_loss(output, targets.of(subnet), self.batch, subnet, task=self.task)
        loss.backward()  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """Clip the gradients, and run a step of the optimizer."""
        torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimizer.step()

    def whole(self, drawn: Sequence[Subnet]) -> None:
        """Run a whole step."""
        targets = self.teacher.teach(self.batch)
        for subnet in reversed(drawn):
            self.passes(subnet, targets)
        self.update()
        self.optimizer.zero_grad(set_to_none=True)


def timed(run: Callable[[], object]) -> float:
    """Return the CPU seconds of a run."""
    began = time.process_time()
    run()
    return time.process_time() - began


def parts_of_a_step(steps: Steps, subnets: Sequence[Subnet], rounds: int) -> StepParts:
    """Return the medians of the parts of a step, which take turns."""
    parts = steps.parts(subnets)
    times: dict[str | Subnet, list[float]] = {part: [] for part in parts}
    for number in range(rounds + 1):
        for part, run in parts.items():
            seconds = timed(run)
            if number:
                times[part].append(seconds)
        steps.model.zero_grad(set_to_none=True)
    medians = {part: statistics.median(each) for part, each in times.items()}
    return StepParts(
        medians["teacher"], medians.get("kept", 0.0), medians["update"], {one: medians[one] for one in subnets}
    )


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.training_speed", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--tokens", default="14")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines: list[str] = []
    found = []
    for tokens in map(int, options.tokens.split(",")):
        measured, whole = _measured(tokens, options.rounds)
        rows, facts = _table(measured, whole)
        lines += ["", *rows] if lines else rows
        found.append({"tokens": tokens, **facts})
    command = f"python -m benchmarks.training.training_speed --tokens {options.tokens} --rounds {options.rounds}"
    save("training-speed", {"command": command, "torch": torch.__version__, "found": found}, lines)


def _measured(tokens: int, rounds: int) -> tuple[dict[bool, StepParts], dict[str, float]]:
    """Return the parts of a step by whether embeddings are frozen, and the seconds of whole steps by mix."""
    batch = make_batch(tokens)
    parts, whole = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for frozen in (False, True):
            torch.manual_seed(0)
            model = ElasticClassifier(SHAPE, LABELS)
            model.embeddings.requires_grad_(not frozen)
            steps = Steps(model, batch, "classification", _kept(model, batch, Path(folder) / str(frozen)))
            parts[frozen] = parts_of_a_step(steps, GRID, rounds)
            if not frozen:
                for mix in tqdm(WHOLE, desc="whole steps", disable=None):
                    draws = [MIXES[mix].draw(number) for number in range(2 * rounds)]
                    # Of draws that differ, the mean; compared with the parts of the same draws.
                    summed = sum(sum(parts[frozen].subnets[one] for one in drawn) for drawn in draws) / len(draws)
                    mean = statistics.mean(timed(functools.partial(steps.whole, drawn)) for drawn in draws)
                    whole[mix] = mean / (summed + parts[frozen].teacher + parts[frozen].update)
    return parts, whole


def _kept(model: ElasticClassifier, batch: Batch, folder: Path) -> Teacher:
    """Return a teacher whose outputs for the rows of a batch are kept."""
    ids, types = batch.input_ids.int().numpy(), batch.token_type_ids.to(torch.int8).numpy()
    rows = EncodedRows(tuple(ids), tuple(types), batch.labels.numpy(), pad_id=0, pad_type_id=0, truncated=0)
    teacher = Teacher(model)
    wanted = Wanted(tuple(range(1, SHAPE.layers + 1)), answers=True)
    teacher.kept = teacher_states(teacher.model, rows, wanted, folder, "")
    return teacher


def _table(parts: dict[bool, StepParts], whole: dict[str, float]) -> tuple[list[str], dict[str, object]]:
    """Return the lines of a table, and the facts behind it."""
    first = MIXES["sandwich, 1 random"]
    before_s, before_count = parts[False].step(first)
    rows, facts = [], []
    for mix, sampler in MIXES.items():
        cells = []
        for way, (frozen, kept) in WAYS.items():
            seconds, count = parts[frozen].step(sampler, kept=kept)
            ratio = count / seconds / (before_count / before_s)
            cells += [f"{1 / seconds:.2f}", f"{3600 * count / seconds:,.0f} ({ratio:.2f} x)"]
            facts.append(
                {"mix": mix, "way": way, "step_s": round(seconds, 4), "subnets": count, "of_before": round(ratio, 3)}
            )
        rows.append([mix, f"{count:g}", *cells])
    header = ["mix", "subnets a step", *(f"{way}: {what}" for way in WAYS for what in ("steps/s", "subnet steps/h"))]
    told = {
        "embeddings frozen" if frozen else "embeddings learn": {
            "teacher_s": round(one.teacher, 4),
            "kept_s": round(one.kept, 4),
            "update_s": round(one.update, 4),
            "subnets_s": [round(one.subnets[subnet], 4) for subnet in GRID],
        }
        for frozen, one in parts.items()
    }
    return markdown(header, rows), {"parts": told, "steps": facts, "whole_step_of_its_parts": whole}


if __name__ == "__main__":
    main()
