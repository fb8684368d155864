"""First step of an export: draft the manifest, tokenise the held-out rows, compute the model's answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gearshift
from gearshift.errors import DataError
from gearshift.export.checks.parity import Logits, graph_inputs, torch_logits
from gearshift.export.checks.samples import telling_sample
from gearshift.export.graph.quantizer import Quantizer
from gearshift.export.graph.segments import Array
from gearshift.export.graph.switched import token_inputs
from gearshift.export.vocabulary import VocabularyReport, shrink_vocabulary
from gearshift.runtime.bundle.manifest import MACS_TOKENS, PRECISIONS, Manifest, PoolEntry, Vectors
from gearshift.runtime.bundle.tagging import Tagging
from gearshift.runtime.bundle.task_heads import TaskHead
from gearshift.runtime.space.space import Space
from gearshift.runtime.tables.tables import Tables
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.data.heads import cut_head_rows
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.unanswerable import has_unanswerable
from gearshift.trainer.data.words import cut_rows, learn_tagging
from gearshift.trainer.learning.evaluate import null_thresholds, with_reference
from gearshift.trainer.learning.objectives import OBJECTIVES, objective_of
from gearshift.trainer.model.elastic import TaskModel
from gearshift.trainer.model.embedding_head import Normalize
from gearshift.trainer.model.run import Run, encode_held_out
from gearshift.trainer.model.run_data import read_run_data

MINIMUM_ONNXRUNTIME = "1.23"

SESSION_OPTIONS = {"graph_optimization_level": "disable", "session.intra_op.allow_spinning": "0"}
"""Session options for fast operators. These were chosen by measured time; with optimisation on, ONNX Runtime fuses them
into slower ones."""

STANDARD_OPTIONS = {**SESSION_OPTIONS, "graph_optimization_level": "all"}
"""Session options for standard operators, which ONNX Runtime fuses into faster ones of its own."""


@dataclass(frozen=True)
class Prepared:
    """Inputs of an export: all that is known before a graph is written."""

    run: Run[Any, Any]
    """Run to export; its vocabulary is shrunk if that was asked for."""
    draft: Manifest
    """Manifest before the measurements."""
    operators: str
    encoded: Any
    """Held-out rows, or images, that the reported accuracy is measured on."""
    dev: Any
    """Other held-out rows, whose accuracy chooses; None if there are none: then the reported one does."""
    sample: Any
    """Rows, or images, that the logits of every subnet are compared on."""
    expected: Mapping[str, Logits]
    """Subnet -> logits of the trained model for the sample."""
    tables: Tables[Any, Any] | None
    """Block tables of the run; None if it was not searched."""
    vocabulary: VocabularyReport | None
    """Report of the shrinking of the vocabulary; None if it was not shrunk."""
    typical: Any = None
    """Encoded rows whose inputs are typical, for coarse weights; None without any."""
    quantizer: Quantizer | None = None
    """Quantiser of the weights of an int8 graph; None: the finest."""

    @property
    def model(self) -> TaskModel:
        """Trained model."""
        model: TaskModel = self.run.checkpoint.model
        return model

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions of the graphs, in the order of the manifest."""
        return tuple(dict.fromkeys(entry.precision for entry in self.draft.pool))

    @property
    def inputs(self) -> dict[str, Array]:
        """Sample, as inputs of a graph."""
        return graph_inputs(self.sample, self.draft.inputs)


def prepare(
    run: Run[Any, Any],
    rows: Sequence[Row],
    name: str,
    *,
    dev: Sequence[Row],
    precisions: Sequence[str],
    layers_per_stage: int,
    operators: str,
    vocabulary: Collection[str] | None,
    licence: str,
    typical: Sequence[Row] = (),
) -> Prepared:
    """Encode the rows, draft the manifest, and compute the answers of the model's subnets.

    The arguments are those of `export_bundle`; `typical`: rows to be encoded as `Prepared.typical`. Raises DataError if
    the rows cannot be used.
    """
    if not rows:
        raise DataError("export: no held-out rows to measure accuracy on; pass a data set with a test split")
    tagging = tagging_of(run, rows)
    if tagging is not None:
        rows, dev, typical = (cut_rows(some, tagging, run.labels) if some else some for some in (rows, dev, typical))
    if run.checkpoint.heads:
        heads = run.checkpoint.heads
        rows, dev, typical = (cut_head_rows(some, heads) if some else some for some in (rows, dev, typical))
        tagging = next((head.tagging for head in run.checkpoint.heads if head.tagging is not None), None)
    if tagging is not None and vocabulary is not None:
        vocabulary = [" ".join(tagging.words.words(text)) for text in vocabulary]
    held_out = {"test": rows, **{split: some for split, some in (("dev", dev), ("typical", typical)) if some}}
    found = {
        split: with_reference(run.checkpoint.model, encode_held_out(run, some)) for split, some in held_out.items()
    }
    tables, report = run.block_tables(), None
    if vocabulary is not None:
        run, found, tables, report = _respelt(run, held_out, found, tables, vocabulary)
    model, max_length, encoded = run.checkpoint.model, int(run.facts["max_length"]), found["test"]
    space = run.space(layers_per_stage)
    draft = _draft(run, space, found, name, precisions, operators, licence)
    draft = draft if draft.heads else dataclasses.replace(draft, tagging=tagging)
    sample = telling_sample(model, run.subnets, encoded, max_length)
    expected = torch_logits(model, run.subnets, sample)
    return Prepared(
        run, draft, operators, encoded, found.get("dev"), sample, expected, tables, report, found.get("typical")
    )


def tagging_of(run: Run[Any, Any], rows: Sequence[Row]) -> Tagging | None:
    """Return words and tags of a run of token classification.

    Those of a run that does not record them are learnt from its training rows, or else from these rows.
    """
    if run.task != "token-classification":
        return None
    known = run.facts.get("tagging")
    if known is not None:
        return Tagging.from_dict(known)
    return learn_tagging(rows, run.labels) if run.data_path is None else read_run_data(run).tagging


def with_thresholds(run: Run[Any, Any], dev: Sequence[Row]) -> Run[Any, Any]:
    """Return a run with thresholds of no answer chosen on dev rows, if a training loop of one's own saved it.

    The runs of our trainings, which count their rows, have theirs if they learnt of questions without an answer.
    """
    if "rows" in run.facts or run.thresholds or not has_unanswerable(dev):
        return run
    return dataclasses.replace(
        run, thresholds=null_thresholds(run.checkpoint.model, run.subnets, encode_held_out(run, dev))
    )


def _respelt(
    run: Run[Any, Any],
    held_out: Mapping[str, Sequence[Row]],
    encoded: Mapping[str, EncodedRows],
    tables: Tables[Any, Any] | None,
    vocabulary: Collection[str],
) -> tuple[Run[Any, Any], dict[str, EncodedRows], Tables[Any, Any] | None, VocabularyReport]:
    """Shrink the vocabulary; return the run, the rows in its tokens, its block tables, and the report."""
    smaller, report = shrink_vocabulary(run, vocabulary, held_out["test"])
    respelt = {split: encode_held_out(smaller, rows) for split, rows in held_out.items()}
    if run.task == "embedding":  # vectors are compared with those of the original net
        respelt = {split: dataclasses.replace(rows, labels=encoded[split].labels) for split, rows in respelt.items()}
    if tables is not None:
        tables = tables.with_embeddings(smaller.checkpoint.model.shape)
    return smaller, respelt, tables, report


def _draft(
    run: Run[Any, Any],
    space: Space[Any, Any],
    held_out: Mapping[str, EncodedRows],
    name: str,
    precisions: Sequence[str],
    operators: str,
    licence: str,
) -> Manifest:
    subnets: Mapping[str, Any] = run.subnets
    heads = tuple(
        TaskHead(head.name, head.task, OBJECTIVES[head.task].metric, head.labels, head.tagging)
        for head in run.checkpoint.heads
    )
    encoded, dev = held_out["test"], held_out.get("dev")
    pool = tuple(
        PoolEntry(
            name=subnet_name,
            subnet=subnet,
            executor="elastic",
            file=f"{precision}.onnx",
            choice=space.choice(subnet),
            precision=precision,
            accuracy=0.0,  # measured before the manifest is written
            dev_accuracy=None if dev is None else 0.0,
            null_threshold=run.thresholds.get(subnet_name),
            head_accuracies={head.name: 0.0 for head in heads},
            parameters=subnet.parameters(space.shape),
            macs=subnet.macs(space.shape, MACS_TOKENS),
        )
        for precision in PRECISIONS
        if precision in precisions
        for subnet_name, subnet in subnets.items()
    )
    return Manifest(
        name=name,
        task=run.checkpoint.task,
        metric=objective_of(run.checkpoint.task).metric,
        heads=heads,
        labels=run.checkpoint.labels,
        max_length=int(run.facts["max_length"]),
        pad_id=encoded.pad_id,
        inputs=token_inputs(space.shape),
        space=space,
        pool=pool,
        macs_tokens=MACS_TOKENS,
        session_options=STANDARD_OPTIONS if operators == "standard" else SESSION_OPTIONS,
        minimum_onnxruntime=MINIMUM_ONNXRUNTIME,
        accuracy_rows=len(encoded),
        licence=licence,
        made_by=f"gearshift {gearshift.__version__}",
        files={},
        vectors=_vectors(run, encoded),
        chosen_by="" if dev is None else "dev",
        dev_rows=0 if dev is None else len(dev),
    )


def _vectors(run: Run[Any, Any], encoded: EncodedRows) -> Vectors | None:
    """Return the form of the vectors of an embedding, whose rows have their reference; None for other tasks."""
    if encoded.task != "embedding":
        return None
    head, sentence = run.checkpoint.model.head, run.checkpoint.sentence
    normalized = bool(head.steps) and head.steps[-1] == Normalize()
    return Vectors(
        int(encoded.labels[0].shape[-1]),
        normalized,
        sentence.similarity,
        sentence.prompt,
        prompts=dict(sentence.prompts),
        pools_prompt=sentence.include_prompt,
        dimensions=tuple(run.facts.get("settings", {}).get("matryoshka_dims", ())),
    )
