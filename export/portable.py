"""Export of single subnets as static ONNX models through optimum, for `ORTModelFor...` and for engines without `If`.

    OUT.portable/
      portable.json            subnets, and the largest difference of each model from torch
      NAME/  model.onnx  config.json  tokenizer.json ...

The layers are cut in a transformers model before the export, as its config cannot state what each layer keeps.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
import transformers

from gearshift.errors import ExportError, UnknownSubnetError
from gearshift.export.checks.parity import FP32_TOLERANCE, torch_logits
from gearshift.export.cut import cut_encoder
from gearshift.export.graph.segments import Array
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.files.atomic import replacing_directory, require_replaceable
from gearshift.runtime.inference.session import ERRORS_ONLY
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.tokenizer import save_tokenizer
from gearshift.trainer.model.elastic import TaskModel
from gearshift.trainer.model.loading import quiet
from gearshift.trainer.model.names import ARCHITECTURES
from gearshift.trainer.model.run import Run, encode_held_out, optional_fields
from gearshift.trainer.model.sentence_files import write_sentence_model

PORTABLE = "portable.json"
"""File that marks a directory as written here."""

MODEL = "model.onnx"
COMPARED_ROWS = 8

OPTIMUM_TASKS = {
    "classification": "text-classification",
    "multi-label-classification": "text-classification",
    "regression": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "embedding": "feature-extraction",
}
"""Our name of a task -> optimum's name."""


def checked_names(run: Run, names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the named subnets (None: all) in the run's order; raises UnknownSubnetError, which lists all."""
    unknown = [name for name in names or () if name not in run.subnets]
    if unknown or (names is not None and not names):
        found = f"unknown subnet {unknown[0]!r}" if unknown else "no subnet named"
        raise UnknownSubnetError(f"portable: {found}; expected all, or some of {', '.join(run.subnets)}")
    return tuple(name for name in run.subnets if names is None or name in names)


def require_free(out: Path) -> None:
    """Raise StorageError if `export_portable` would refuse to write to `out`."""
    require_replaceable(out, marker=PORTABLE)


def export_portable(
    run: Run,
    out: Path,
    rows: Sequence[Row],
    names: Sequence[str] | None = None,
    *,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, float]:
    """Write a directory with a model of each named subnet (None: all), atomically.

    Returns subnet -> largest difference from torch on a few held-out rows, in fp32. Raises ExportError above the
    tolerance of an elastic graph, and for a task that optimum does not export, UnknownSubnetError, StorageError.
    """
    _require_exportable(run)
    chosen = checked_names(run, names)
    batch = _compared(run, rows)
    answers = torch_logits(run.checkpoint.model, {name: run.subnets[name] for name in chosen}, batch)
    expected = {name: logits for name, (logits,) in answers.items()}
    parity: dict[str, float] = {}
    with replacing_directory(out, marker=PORTABLE) as fresh:
        for done, name in enumerate(chosen):
            progress("portable", done, len(chosen))
            _write(run, run.subnets[name], fresh / name)
            parity[name] = _check(fresh / name / MODEL, run.checkpoint.model, batch, expected[name])
        progress("portable", len(chosen), len(chosen))
        facts = {
            name: {
                "layers": list(map(list, run.subnets[name].layers)),
                "parity": parity[name],
                **optional_fields(name, null_threshold=run.thresholds),
            }
            for name in chosen
        }
        content = {"task": run.checkpoint.task, "subnets": facts}
        (fresh / PORTABLE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return parity


def _require_exportable(run: Run) -> None:
    """Raise ExportError if optimum has no export of the run's task for its architecture."""
    import optimum.exporters.onnx.model_configs  # noqa: F401  (which tells the manager of its tasks)
    from optimum.exporters.tasks import TasksManager

    kind = transformers.AutoConfig.from_pretrained(run.path, local_files_only=True).model_type
    task = OPTIMUM_TASKS[run.checkpoint.task]
    if task not in TasksManager.get_supported_tasks_for_model_type(kind, "onnx", library_name="transformers"):
        raise ExportError(f"portable: optimum has no {task} of {kind}; use the bundle, or --checkpoint")


def write_static_graph(model: transformers.PreTrainedModel, directory: Path, task: str) -> None:
    """Write a transformers model in optimum's form: `model.onnx` and `config.json`, for any batch size and length."""
    from optimum.exporters.onnx import onnx_export_from_model

    log = logging.getLogger("optimum")
    level = log.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), quiet(), contextlib.ExitStack() as after:
        warnings.simplefilter("ignore")  # the tracer warns of shapes that are constants here
        log.setLevel(logging.ERROR)
        after.callback(log.setLevel, level)
        onnx_export_from_model(model, directory, task=OPTIMUM_TASKS[task], do_validation=False)


def _compared(run: Run, rows: Sequence[Row]) -> Batch:
    """Return a padded batch of the first COMPARED_ROWS rows, to compare the models on."""
    encoded = encode_held_out(run, rows)
    return encoded.select(range(min(COMPARED_ROWS, len(encoded))))


def _write(run: Run, subnet: Subnet, directory: Path) -> None:
    checkpoint = run.checkpoint
    config = transformers.AutoConfig.from_pretrained(run.path, local_files_only=True)
    loader = getattr(transformers, ARCHITECTURES[config.model_type].class_name(checkpoint.task))
    with quiet():
        model = loader.from_pretrained(run.path, local_files_only=True, attn_implementation="eager").eval()
    cut_encoder(model, subnet)
    directory.mkdir()
    write_static_graph(model, directory, checkpoint.task)
    save_tokenizer(checkpoint, directory)
    if checkpoint.task == "embedding":
        write_sentence_model(directory, checkpoint.model, checkpoint.model.shape.hidden, checkpoint.sentence)


def _check(path: Path, model: TaskModel, batch: Batch, expected: Array) -> float:
    """Return the largest difference of an answer from torch's; raises ExportError above FP32_TOLERANCE."""
    options = ort.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {each.name: getattr(batch, each.name).numpy() for each in session.get_inputs()}
    mask = batch.attention_mask.numpy().astype(bool)
    found = _answer(session.run(None, feeds), model, batch)
    if TASKS[model.head.task].per_token:  # answers at padding are not compared
        found, expected = found[mask], expected[mask]
    difference = float(np.abs(found - expected).max())
    if not difference <= FP32_TOLERANCE:
        raise ExportError(
            f"{path.parent.name}: expected a static model within {FP32_TOLERANCE:g} of torch, off by {difference:.2g}"
        )
    return difference


@torch.no_grad()
def _answer(outputs: list[Any], model: TaskModel, batch: Batch) -> Array:
    """Convert the outputs of an exported model to the form of an elastic model's answer."""
    if model.head.task == "question-answering":
        return np.stack(outputs, axis=-1)
    if model.head.task != "embedding":
        return np.asarray(outputs[0])
    return np.asarray(model.answer(torch.from_numpy(outputs[0]), batch.attention_mask).numpy())
