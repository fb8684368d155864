"""A DAN run in, a gear of a bundle out: pruned by frequency to a size, int8 rows, measured."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence

import numpy as np

from gearshift.export.card import model_card
from gearshift.runtime.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.dan import Dan, Text, bytes_per_ngram, fold, open_dan, pack, save_dan
from gearshift.runtime.errors import DataError, ExportError, InputError
from gearshift.runtime.manifest import DAN_EXECUTOR, MANIFEST, PoolEntry
from gearshift.runtime.space import Subnet
from gearshift.runtime.storage import replacing_directory
from gearshift.trainer.dan import text_of
from gearshift.trainer.dan_run import DanRun
from gearshift.trainer.rows import Row

NAME = "dan"
FILE = "dan.safetensors"


def pruned_dan(run: DanRun, *, max_mb: float, precision: str = "int8") -> Dan:
    """The run's DAN with as many of its most frequent n-grams as fit into `max_mb` megabytes (10**6 bytes).

    Of single texts the first layer goes into the table, where its hidden layer is not wider than an embedding.
    Raises ExportError where not one n-gram fits.
    """
    dense, width = run.dense, run.table.shape[1]
    folding = not run.paired and len(dense.hidden_bias) <= width
    stored = len(dense.hidden_bias) if folding else width
    layers = sum(array.nbytes for name, array in dense.arrays().items() if not (folding and name == "hidden_weight"))
    room = int((max_mb * 1e6 - layers - _HEADER) // bytes_per_ngram(stored, precision))
    if room < 1:
        raise ExportError(f"DAN: nothing fits into {max_mb:g} MB beside layers of {layers} bytes; allow more")
    table = run.table[:room]  # the most frequent come first
    if folding:
        table, dense = fold(table, dense)
    return pack(run.ngrams[:room], table, dense, precision=precision, longest=run.longest, paired=run.paired)


_HEADER = 4096  # bytes of the file's header, and more than it takes


def dan_accuracy(dan: Dan, labels: Sequence[str], rows: Sequence[Row]) -> float:
    """Share of rows that a DAN answers right."""
    texts: list[Text] = [text_of(row) for row in rows]
    best = dan.run(texts).argmax(1)
    return float(np.mean([labels[place] == row.label for place, row in zip(best, rows, strict=True)]))


def add_dan(bundle: Bundle, run: DanRun, rows: Sequence[Row], *, max_mb: float) -> Bundle:
    """The bundle written again with the run's DAN as a gear, measured on held-out rows; whole or not at all.

    Raises InputError where the two answer different questions.
    """
    manifest = bundle.manifest
    if run.labels != manifest.labels or manifest.task != "classification":
        expected = ", ".join(manifest.labels) or f"none ({manifest.task})"
        raise InputError(f"{run.path}: expected a DAN of the labels {expected}, found {', '.join(run.labels)}")
    if not rows:
        raise DataError("export: no held-out rows to measure the DAN on; pass a data set with a test split")
    dan = pruned_dan(run, max_mb=max_mb)
    with replacing_directory(bundle.path, marker=MANIFEST) as fresh:
        for name in manifest.files:
            shutil.copyfile(bundle.path / name, fresh / name)
        save_dan(fresh / FILE, dan)
        accuracy = dan_accuracy(open_dan(fresh / FILE), run.labels, rows)
        entry = PoolEntry(NAME, Subnet(()), DAN_EXECUTOR, FILE, (), dan.precision, accuracy, dan.parameters, dan.macs)
        others = tuple(found for found in manifest.pool if found.executor != DAN_EXECUTOR)
        manifest = dataclasses.replace(manifest, pool=(*others, entry))
        (fresh / "README.md").write_text(model_card(manifest), encoding="utf-8")
        write_manifest(fresh, manifest)
        written = open_bundle(fresh)
    return dataclasses.replace(written, path=bundle.path)
