"""Deep averaging network (DAN) on the device, by numpy alone: mean of n-gram embeddings, one hidden layer, logits.

Sparse Distillation (NAACL 2022), section 4: h = mean of the embeddings of a text's n-grams, repeats kept;
z = W2 relu(W1 h + b1) + b2; for a pair, h = [h1, h2, h1 * h2, |h1 - h2|].
n-grams that the table lacks are left out. A text without a known n-gram has h = 0: its logits depend on the biases
alone.

For single texts W1 h is the mean of W1 x embedding. The table then holds these products and W1 is not stored (`fold`),
which saves a matrix product per text and often most of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import GearshiftError, InputError, IntegrityError
from gearshift.runtime.dan.index import NgramIndex, build_index
from gearshift.runtime.dan.ngrams import LONGEST, keys
from gearshift.runtime.dan.threshold import DanCalibration
from gearshift.runtime.files.tensor_file import map_tensors, write_tensors

FORMAT = "gearshift-dan"
VERSION = 2
Text = str | tuple[str, str]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Dense:
    """Dense layers after the mean."""

    hidden_weight: Floats | None
    """W1, (hidden, inputs); inputs is the table's width, for pairs four times that. None if the table has W1 folded."""
    hidden_bias: Floats
    """b1, (hidden,)."""
    output_weight: Floats
    """W2, (labels, hidden)."""
    output_bias: Floats
    """b2, (labels,)."""

    def arrays(self) -> dict[str, Floats]:
        """Return the stored layers by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Dan:
    """DAN in the form of its file; `open_dan` opens one."""

    index: NgramIndex
    rows: NDArray[np.int8] | Floats
    """Embeddings in the order of the index, (n-grams, width); int8 ones are multiplied by the row's scale."""
    scales: Floats
    """Scale of each row, (n-grams,); ones in fp32."""
    dense: Dense
    longest: int
    """Number of words of the longest n-gram."""
    paired: bool
    calibration: DanCalibration | None = None
    """Disagreements with the bundle's transformer on held-out rows; None if they were not measured."""

    def __post_init__(self) -> None:
        count, width = len(self.index.prints), self.rows.shape[1] if self.rows.ndim == 2 else -1
        dense = self.dense
        hidden, inputs = len(dense.hidden_bias), 4 * width if self.paired else width
        if dense.hidden_weight is None:
            whole = not self.paired and hidden == width
        else:
            whole = dense.hidden_weight.shape == (hidden, inputs)
        whole = whole and self.rows.shape == (count, width) and self.scales.shape == (count,)
        whole = whole and dense.output_weight.shape == (len(dense.output_bias), hidden)
        if not whole or not 1 <= self.longest <= LONGEST:
            raise IntegrityError("DAN: expected arrays whose shapes fit each other, found others; copy the file again")

    @property
    def precision(self) -> str:
        """Precision of the stored rows: `int8` or `fp32`."""
        return "int8" if self.rows.dtype == np.int8 else "fp32"

    @property
    def parameters(self) -> int:
        """Number of values of table and layers, without scales and index."""
        return self.rows.size + sum(array.size for array in self.dense.arrays().values())

    @property
    def macs(self) -> int:
        """MACs of the layers; a mean of embeddings has none."""
        return sum(array.size for array in self.dense.arrays().values() if array.ndim == 2)

    def run(self, texts: Sequence[Text]) -> Floats:
        """Return the logits of each text or pair, (texts, labels)."""
        return np.stack([self.logits(text)[0] for text in texts])

    # Some CPUs raise the flag for vector lanes that are no part of a product; a NaN in the result stays one.
    @np.errstate(invalid="ignore")
    def logits(self, text: Text) -> tuple[Floats, int]:
        """Return the logits (labels,) and the number of known n-grams; with 0, the logits do not depend on the text."""
        if isinstance(text, str) == self.paired:
            raise InputError(f"text: expected {'a pair' if self.paired else 'one text'}, got {type(text).__name__}")
        if isinstance(text, str):
            mean, known = self._mean(text)
        else:
            (first, one), (second, other) = map(self._mean, text)
            mean = np.concatenate([first, second, first * second, np.abs(first - second)])
            known = one + other
        dense = self.dense
        hidden = (mean if dense.hidden_weight is None else dense.hidden_weight @ mean) + dense.hidden_bias
        return dense.output_weight @ np.maximum(hidden, 0, out=hidden) + dense.output_bias, known

    def _mean(self, text: str) -> tuple[Floats, int]:
        found = self.index.rows(keys(text, self.longest))
        if not len(found):
            return np.zeros(self.rows.shape[1], np.float32), 0
        # `take` is several times as fast as indexing here.
        mean = self.scales.take(found) @ self.rows.take(found, 0).astype(np.float32, copy=False)
        mean /= len(found)
        return mean, len(found)


def fold(table: Floats, dense: Dense) -> tuple[Floats, Dense]:
    """Fold W1 into the table; return the new table and the layers without W1. Logits of single texts stay the same."""
    if dense.hidden_weight is None:
        raise InputError("DAN: the first layer is in the table already")
    folded = table @ dense.hidden_weight.T
    return folded, Dense(None, dense.hidden_bias, dense.output_weight, dense.output_bias)


def pack(ngrams: NDArray[np.uint64], table: Floats, dense: Dense, *, precision: str, longest: int, paired: bool) -> Dan:
    """Make a DAN of n-grams (distinct keys) and their embeddings (n-grams, width), in int8 or fp32."""
    index, row_of = build_index(ngrams)
    ordered = np.zeros((len(index.prints), table.shape[1]), np.float32)
    ordered[row_of] = table
    if precision == "fp32":
        return Dan(index, ordered, np.ones(len(ordered), np.float32), dense, longest, paired)
    if precision != "int8":
        raise InputError(f"precision of a DAN: expected int8 or fp32, got {precision!r}")
    scales = np.abs(ordered).max(1) / np.float32(127)
    rows = np.rint(ordered / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
    return Dan(index, rows, scales.astype(np.float32), dense, longest, paired)


def bytes_per_ngram(width: int, precision: str) -> float:
    """Return the most bytes of an n-gram in the file: row, scale, print, its share of the index and the empty rows."""
    return 1.03 * (width * (1 if precision == "int8" else 4) + 4 + 4 + 0.5)


def save_dan(path: Path, dan: Dan, about: dict[str, Any] | None = None) -> None:
    """Write a DAN as one file; `about`: further facts for the file's header."""
    tensors: dict[str, NDArray[Any]] = {
        "displacements": dan.index.displacements,
        "prints": dan.index.prints,
        "rows": dan.rows,
        "scales": dan.scales,
        **dan.dense.arrays(),
    }
    facts: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "longest": dan.longest,
        "paired": dan.paired,
        "index_crc32": _checksum(dan.index),
    }
    if dan.calibration is not None:
        tensors["disagreements"] = dan.calibration.disagreements
        facts["calibration_rows"] = dan.calibration.rows
    write_tensors(path, tensors, {**(about or {}), **facts})


def open_dan(path: Path) -> Dan:
    """Open the DAN of a file, memory-mapped; raise IntegrityError that names the file if it is cut off or not a DAN."""
    tensors, facts = map_tensors(path)
    if facts.get("format") != FORMAT or facts.get("version") != VERSION:
        found = f"{facts.get('format')!r} {facts.get('version')!r}"
        raise IntegrityError(
            f"{path}: expected {FORMAT} {VERSION}, found {found}; export it again or install a newer gearshift"
        )
    try:
        layers = ("hidden_bias", "output_weight", "output_bias")
        dense = Dense(tensors.get("hidden_weight"), *(tensors[name] for name in layers))
        index = NgramIndex(tensors["displacements"], tensors["prints"])
        if _checksum(index) != facts["index_crc32"]:
            raise IntegrityError("its n-gram index was altered")
        rows = facts.get("calibration_rows")
        calibration = None if rows is None else DanCalibration(rows, tensors["disagreements"])
        return Dan(index, tensors["rows"], tensors["scales"], dense, facts["longest"], facts["paired"], calibration)
    except (KeyError, TypeError, IndexError, GearshiftError) as error:
        raise IntegrityError(f"{path}: not a whole DAN ({error}); copy it again") from error


def _checksum(index: NgramIndex) -> int:
    """Compute the checksum of the index alone: it is small, and a fault there gives plausible but wrong answers."""
    return crc32(index.prints.data, crc32(index.displacements.data))
