"""Export of a DAN into a bundle: pruning, calibration of its probabilities, accuracy and self-test.

The calibration also records the confidence at which the DAN differs from the transformer, for a cascade.
"""

from __future__ import annotations

import dataclasses
import io
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gearshift.errors import DataError, ExportError, InputError
from gearshift.export.card import model_card
from gearshift.runtime.bundle.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.bundle.compressed import CARD
from gearshift.runtime.bundle.manifest import DAN_EXECUTOR, DAN_FILE, MANIFEST, SELF_TEST, PoolEntry
from gearshift.runtime.dan.model import Dan, Floats, Text, bytes_per_ngram, fold, open_dan, pack, save_dan
from gearshift.runtime.dan.threshold import DanCalibration
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.runtime.inference.answers import probabilities
from gearshift.runtime.inference.self_test import check_dan
from gearshift.runtime.inference.self_test_file import Arrays, read_self_test, self_test_names
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.dan.run import DanRun
from gearshift.trainer.dan.teacher_logits import open_classifier
from gearshift.trainer.dan.train import text_of
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.unseen import classes_of

SHARPEST, FLATTEST = 0.05, 20.0
"""Bounds of the temperature."""
HALVINGS = 50
"""Bisection steps for the temperature."""


def calibrated(dan: Dan, texts: Sequence[Text], classes: NDArray[np.int64], transformer: Floats) -> Dan:
    """Return the DAN with calibrated logits (logits / temperature), and its `calibration` against the transformer.

    `classes`: correct classes, shape (texts,), -1 for a label that the DAN does not have: the temperature is that of
    the other texts. `transformer`: logits of the transformer on the same texts, which must be held out of training.
    Raises DataError without any text.
    """
    if not len(texts):
        raise DataError("calibration: expected held-out rows, found none; pass a data set with a dev split")
    logits = dan.run(texts)
    known = classes >= 0
    if not known.any():
        raise DataError("calibration: expected held-out rows with the labels of the DAN, found none; pass its data")
    heat = np.float32(temperature(logits[known], classes[known]))
    dense = dataclasses.replace(
        dan.dense, output_weight=dan.dense.output_weight / heat, output_bias=dan.dense.output_bias / heat
    )
    sure = probabilities(logits / heat).max(1)
    differs = logits.argmax(1) != transformer.argmax(1)
    calibration = DanCalibration(len(texts), np.sort(sure[differs])[::-1].astype(np.float32))
    return dataclasses.replace(dan, dense=dense, calibration=calibration)


def temperature(logits: Floats, classes: NDArray[np.int64]) -> float:
    """Return the temperature that minimises the cross-entropy of logits (rows, labels) / temperature.

    Temperature scaling: Guo et al. 2017, section 4.2. The loss is convex in 1 / temperature, so that the sign of its
    slope gives the direction of the minimum (bisection).
    """
    low, high = math.log(1 / FLATTEST), math.log(1 / SHARPEST)
    right = logits[np.arange(len(logits)), classes]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        expected = (probabilities(logits * np.float32(math.exp(middle))) * logits).sum(1)
        if float((expected - right).mean()) > 0:
            high = middle
        else:
            low = middle
    return math.exp(-(low + high) / 2)


NAME = "dan"
SELF_TEST_ROWS = 8
AT_ONCE = 16
"""Batch size of the transformer."""


def pruned_dan(run: DanRun, *, max_mb: float, precision: str = "int8") -> Dan:
    """Return the run's DAN with as many of its most frequent n-grams as fit into `max_mb` megabytes (10**6 bytes).

    Raises ExportError if not a single n-gram fits.
    """
    arrays = run.dense.arrays().items()
    layers = sum(array.nbytes for name, array in arrays if not (_folds(run) and name == "hidden_weight"))
    stored = len(run.dense.hidden_bias) if _folds(run) else run.table.shape[1]
    room = int((max_mb * 1e6 - layers - _HEADER) // bytes_per_ngram(stored, precision))
    if room < 1:
        raise ExportError(f"DAN: no n-gram fits into {max_mb:g} MB beside layers of {layers} bytes; allow more")
    return packed_dan(run, room, precision=precision)


_HEADER = 4096  # upper bound of the bytes of the file's header


def packed_dan(run: DanRun, ngrams: int, *, precision: str = "int8") -> Dan:
    """Return the run's DAN with its `ngrams` most frequent n-grams.

    For single texts the first layer is folded into the table, if the hidden layer is not wider than an embedding.
    """
    table, dense = run.table[:ngrams], run.dense  # the most frequent come first
    if _folds(run):
        table, dense = fold(table, dense)
    return pack(run.ngrams[:ngrams], table, dense, precision=precision, longest=run.longest, paired=run.paired)


def _folds(run: DanRun) -> bool:
    return not run.paired and len(run.dense.hidden_bias) <= run.table.shape[1]


def dan_accuracy(dan: Dan, labels: Sequence[str], rows: Sequence[Row]) -> float:
    """Return the share of rows that a DAN answers correctly."""
    return float(np.mean(dan.run([text_of(row) for row in rows]).argmax(1) == classes_of(rows, labels)))


def add_dan(
    bundle: Bundle, run: DanRun, rows: Sequence[Row], *, max_mb: float, held_out: Sequence[Row] | None = None
) -> Bundle:
    """Write the bundle again, atomically, with the run's DAN as an executor in its pool.

    `rows`: held-out rows to measure its accuracy on.
    `held_out`: other rows, to calibrate the DAN against the graph's most accurate subnet, and to measure the accuracy
    that chooses, if that of the subnets is on dev rows; with None there is no calibration, and a cascade cannot be
    switched on.
    Raises InputError if the DAN has another task or other labels than the bundle.
    """
    manifest = bundle.manifest
    if run.labels != manifest.labels or manifest.task != "classification":
        expected = ", ".join(manifest.labels) or f"none ({manifest.task})"
        raise InputError(f"{run.path}: expected a DAN of the labels {expected}, found {', '.join(run.labels)}")
    if not rows:
        raise DataError("export: no held-out rows to measure the DAN on; pass a data set with a test split")
    dan = pruned_dan(run, max_mb=max_mb)
    if held_out is not None:
        texts = [text_of(row) for row in held_out]
        dan = calibrated(dan, texts, np.array(classes_of(held_out, run.labels)), _transformer(bundle, texts))
    with replacing_directory(bundle.path, marker=MANIFEST) as fresh:
        for name in manifest.files:
            shutil.copyfile(bundle.path / name, fresh / name)
        save_dan(fresh / DAN_FILE, dan)
        written_dan = open_dan(fresh / DAN_FILE)
        entry = PoolEntry(
            NAME,
            Subnet(()),
            DAN_EXECUTOR,
            DAN_FILE,
            (),
            dan.precision,
            dan_accuracy(written_dan, run.labels, rows),
            dan.parameters,
            dan.macs,
            dev_accuracy=dan_accuracy(written_dan, run.labels, held_out) if held_out and manifest.chosen_by else None,
        )
        others = tuple(found for found in manifest.pool if found.executor != DAN_EXECUTOR)
        manifest = dataclasses.replace(manifest, pool=(*others, entry))
        arrays = read_self_test(dataclasses.replace(bundle, manifest=dataclasses.replace(manifest, pool=others)))
        _write_self_test(fresh / SELF_TEST, arrays, dan, entry, [text_of(row) for row in rows[:SELF_TEST_ROWS]])
        (fresh / CARD).write_text(model_card(manifest), encoding="utf-8")
        write_manifest(fresh, manifest)
        written = open_bundle(fresh)
        check_dan(written)
    return dataclasses.replace(written, path=bundle.path)


def _transformer(bundle: Bundle, texts: Sequence[Text]) -> Floats:
    """Return the logits of the graph's most accurate subnet, shape (texts, labels)."""
    teacher = open_classifier(bundle.path)
    shown = tqdm(range(0, len(texts), AT_ONCE), desc="calibration", unit="batch", disable=None)
    return np.concatenate([teacher.logits(texts[start : start + AT_ONCE]) for start in shown])


def _write_self_test(path: Path, arrays: Arrays, dan: Dan, entry: PoolEntry, texts: Sequence[Text]) -> None:
    """Write the arrays of the graphs' self-test, with texts and the logits that every device must give for them."""
    of_texts, of_logits = self_test_names(entry)
    rows = np.array([[text] if isinstance(text, str) else text for text in texts])
    kept = {**arrays, of_texts: rows, of_logits: dan.run(texts)}
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **kept)
    path.write_bytes(content.getvalue())
