"""A batch in parts: on several processes, and one part after the other."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gearshift.errors import InputError
from gearshift.runtime.bundle.tasks import TEXT_TASKS
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.data.targets import IGNORED
from gearshift.trainer.learning.devices import PRECISIONS, chosen_precision, make_accelerator, parts_of
from gearshift.trainer.learning.distillation import distill_loss
from gearshift.trainer.learning.objectives import OBJECTIVES
from gearshift.trainer.model.elastic import ElasticClassifier, Head, Output
from tests.command_line import PATIENCE_S
from tests.trainer.tiny import KEYWORDS, SHAPE, make_rows, random_batch, random_model, write_checkpoint

LENGTHS = [3, 9, 1, 4, 12, 2, 7]


@dataclasses.dataclass
class Process:
    """Process with what `parts_of` asks of an accelerator."""

    num_processes: int
    process_index: int
    device: str = "cpu"


def labels_of(task: str, batch: Batch) -> Tensor:
    rows, tokens = batch.input_ids.shape
    source = torch.Generator().manual_seed(0)
    if task == "regression":
        return torch.rand(rows, generator=source)
    if task == "token-classification":
        known = batch.attention_mask.bool() & (torch.rand(rows, tokens, generator=source) < 0.6)
        return torch.where(known, torch.randint(0, 3, (rows, tokens), generator=source), IGNORED)
    if task == "question-answering":
        spans = torch.stack([torch.zeros(rows), torch.tensor(LENGTHS) - 1], dim=1).long()
        spans[2] = IGNORED  # an answer that is cut off
        return spans
    if task == "multi-label-classification":
        return torch.randint(0, 2, (rows, 3), generator=source).float()
    if task == "embedding":
        return torch.zeros(rows, 0)
    return torch.randint(0, 3, (rows,), generator=source)


def model_for(task: str) -> ElasticClassifier:
    torch.manual_seed(0)
    outputs = {"regression": 1, "question-answering": 2}.get(task, 3)
    return ElasticClassifier(SHAPE, outputs, head=Head(task)).eval()


@pytest.mark.parametrize("task", TEXT_TASKS)
def test_the_losses_of_the_parts_add_up_to_that_of_the_batch(task: str) -> None:
    model, subnet = model_for(task), uniform_grid(SHAPE)["w050-d050"]
    batch = random_batch(LENGTHS, labels=3)
    batch = dataclasses.replace(batch, labels=labels_of(task, batch))

    def losses(part: Batch) -> Tensor:
        teacher, student = model(part, model.full), model(part, subnet)
        shifted = Output(student.logits + 1, student.hidden)
        learnt = OBJECTIVES[task].loss(student.logits, part) if OBJECTIVES[task].taught else torch.zeros(())
        return torch.stack([learnt, distill_loss(shifted, teacher, part, subnet, task=task)]).detach()

    whole = losses(batch)
    for world, micro in ((1, 1), (1, 3), (2, 0), (3, 2), (9, 0)):  # of nine processes two have nothing to do
        processes = [Process(world, index) for index in range(world)]
        parts = [part for process in processes for part in parts_of(batch, process, micro)]
        assert all(len(part.indices) <= (micro or 7) for part in parts)
        assert torch.stack([losses(part) for part in parts]).sum(0) / world == pytest.approx(whole, rel=1e-4)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="mixed_precision must be one of no, bf16, fp16, auto, got 'bfloat'"):
        make_accelerator("bfloat")


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("set_already", [False, True])
def test_bf16_is_taken_where_the_device_computes_in_it_and_nobody_said_otherwise(set_already: bool, bf16: bool) -> None:
    found = {asked: chosen_precision(asked, set_already=set_already, bf16=bf16) for asked in PRECISIONS}
    automatic = "bf16" if bf16 else "no"
    assert found == {
        "": "" if set_already else automatic, "no": "no", "bf16": "bf16", "fp16": "fp16", "auto": automatic,
    }  # fmt: skip


def test_processes_wait_a_day_for_the_main_one() -> None:
    assert make_accelerator().init_handler.timeout == datetime.timedelta(days=1)


@pytest.mark.parametrize(
    "form",
    [{}, {"relative_buckets": 32}, {"position_terms": ("c2p", "p2c"), "position_buckets": 4, "position_farthest": 9}],
    ids=["masks", "biases", "terms by position"],
)
def test_bf16_on_a_cpu_trains_a_step_with_attention_in_fp32(
    form: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: set[torch.dtype] = set()
    really_attend = F.scaled_dot_product_attention

    def attend(query: Tensor, *rest: Any, **how: Any) -> Tensor:
        kinds.add(query.dtype)
        return really_attend(query, *rest, **how)

    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    model, batch = random_model(dataclasses.replace(SHAPE, **form)).train(), random_batch([5, 9, 2])
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(batch, model.full)
        loss = OBJECTIVES["classification"].loss(output.logits, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert (output.logits.dtype, loss.dtype, kinds) == (torch.bfloat16, torch.float32, {torch.float32})
    after = dict(model.named_parameters())
    assert all(torch.isfinite(weight).all() for weight in after.values())
    assert not torch.equal(after["layers.0.query.weight"], before["layers.0.query.weight"])


# Processes of their own

RATES = ["--teacher-lr", "1e-3", "--width-lr", "1e-3", "--depth-lr", "1e-3", "--importance-rows", "16"]
EPOCHS = ["--teacher-epochs", "2", "--width-epochs", "1", "--depth-epochs", "1", "--widths", "1,.5", "--depths", "1,.5"]
FLAGS = ["--max-length", "16", *RATES, *EPOCHS, "--tensorboard", "--json"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags for data and a model without dropout, whose random numbers would differ."""
    folder = tmp_path_factory.mktemp("inputs")
    config = write_checkpoint(folder / "model") / "config.json"
    still = {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}
    config.write_text(json.dumps({**json.loads(config.read_text()), **still}))
    for seed, (split, count) in enumerate((("train", 46), ("dev", 6), ("test", 12))):
        lines = [f"{row.text}\t{row.label}\n" for row in make_rows(count, seed=seed)]
        (folder / f"{split}.tsv").write_text("".join(["sentence\tlabel\n", *lines]))
    assert set(KEYWORDS) == {"cold", "hot", "mild"}
    return ["--data", str(folder), "--model", str(folder / "model"), *FLAGS]


def train(launcher: list[str], *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", *launcher, "gearshift", "train", *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        finally:
            if process.poll() is None:  # the launcher's processes with it
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, err[-3000:]
    said: dict[str, Any] = json.loads(out)
    return said


def logged(run: Path) -> dict[tuple[str, int], float]:
    """(name, step) -> number, of all that TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.with_name(f"{run.name}.tensorboard") / "gearshift")).Reload()
    names = events.Tags()["scalars"]
    return {(name, event.step): event.value for name in names for event in events.Scalars(name)}


@pytest.fixture(scope="module")
def one(inputs: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    path = tmp_path_factory.mktemp("one") / "one"
    train(["accelerate.commands.launch", "--mixed_precision", "no", "-m"], *inputs, "--batch-size", 8, "-o", path)
    return path


def test_two_processes_have_the_losses_of_one_with_twice_the_batch(
    inputs: list[str], one: Path, tmp_path: Path
) -> None:
    two = tmp_path / "two"
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    said = train(torchrun, *inputs, "--batch-size", 4, "-o", two)
    assert said["rows"] == {"train": 46, "dev": 6, "test": 12}
    expected, found = logged(one), logged(two)
    # Two epochs of 6 steps, and one of each stage after it; the last batch has 6 rows.
    assert [step for name, step in expected if name == "teacher/loss"] == list(range(1, 13))
    assert [step for name, step in expected if name == "depth/loss"] == list(range(1, 7))
    assert found == pytest.approx(expected, rel=1e-4)


LATE = """
import sys, time
from gearshift.__main__ import main
from gearshift.trainer.dynabert import train as dynabert

def late(training, stage=dynabert.teacher_stage):
    time.sleep(5 * training.accelerator.process_index)  # longer than the other one takes to rank
    return stage(training)

dynabert.teacher_stage = late
sys.exit(main(sys.argv[2:]))
"""


def test_a_process_that_is_late_takes_no_other_way(inputs: list[str], one: Path, tmp_path: Path) -> None:
    """Fine-tune no teacher: nothing holds the first process up before it writes that the stage is finished."""
    (tmp_path / "late.py").write_text(LATE)
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "late.py")]
    said = train(torchrun, *inputs, "--model", one, "--teacher-epochs", 0, "-o", tmp_path / "run")
    assert said["rows"] == {"train": 46, "dev": 6, "test": 12}
