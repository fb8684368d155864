"""Pairs of images: what a net from image to image is given, and what it should make of it.

DATA/train/input/NAME.png beside DATA/train/target/NAME.png, of the same names; so also `test` and `dev`, or `val`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gearshift.errors import DataError
from gearshift.runtime.images.decode import read_image
from gearshift.runtime.images.preparation import Preparation
from gearshift.trainer.data.images import (
    SPLITS,
    ImageBatch,
    ImageData,
    ImageRows,
    check_bytes,
    held_out,
    image_files,
    split_folder,
)

INPUT, TARGET = "input", "target"
"""Folders of a split."""


@dataclass(frozen=True, eq=False)
class PairRows(ImageRows):
    """Pairs of a split, at the size of the net; the labels are the targets, uint8 (rows, height, width, 3), and have no
    names."""

    task: str = "image-to-image"

    def select(self, rows: Sequence[int] | NDArray[np.int64], source: np.random.Generator | None = None) -> ImageBatch:
        """Return the pairs at these places as one batch; `source` of random numbers mirrors half of them."""
        places = np.asarray(rows, np.int64)
        given: NDArray[Any] = self.images[places]
        wanted: NDArray[Any] = self.labels[places]
        if source is not None:
            mirrored = (source.random(len(places)) < 0.5)[:, None, None, None]
            given, wanted = (np.where(mirrored, each[:, :, ::-1], each) for each in (given, wanted))
        pixels, targets = (torch.from_numpy(self.preparation.normalised(each)) for each in (given, wanted))
        return ImageBatch(pixels, targets, torch.from_numpy(places))


def pair_rows(
    given: NDArray[np.uint8], wanted: NDArray[np.uint8], preparation: Preparation, *, augmented: bool = False
) -> PairRows:
    """Make rows of pairs, (rows, height, width, 3) each."""
    labels: NDArray[Any] = wanted
    return PairRows(given, labels, (), preparation, augmented)


def read_pairs(
    path: Path,
    preparation: Preparation,
    *,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> ImageData:
    """Read the pairs in a folder at the size of a net; raise DataError."""
    found = {split: split_folder(path, names) for split, names in SPLITS.items()} if path.is_dir() else {}
    if not found or found["train"] is None:
        raise DataError(f"{path}: expected train/{INPUT} and train/{TARGET} with images of the same names")
    files = {split: _files(folder) for split, folder in found.items() if folder is not None}
    total, done = sum(map(len, files.values())), 0
    check_bytes(path, preparation, 2 * total)
    splits: dict[str, ImageRows] = {}
    for split, listed in files.items():
        both = np.empty((2, len(listed), preparation.height, preparation.width, 3), np.uint8)
        for row, pair in enumerate(listed):
            for side, file in enumerate(pair):
                both[side, row] = preparation.resized(read_image(file))
            done += 1
            if done % 100 == 0:
                progress("pairs", done, total)
        splits[split] = pair_rows(both[0], both[1], preparation, augmented=split == "train")
    splits, notes = held_out(path, splits)
    return ImageData((), splits, str(path.resolve()), notes)


def _files(folder: Path) -> list[tuple[Path, Path]]:
    """Return the pairs of a split, by name; raise DataError for an image without the other."""
    sides = []
    for side in (INPUT, TARGET):
        sides.append({file.relative_to(folder / side).with_suffix(""): file for file in image_files(folder / side)})
    given, wanted = sides
    alone = sorted(given.keys() ^ wanted.keys())
    if alone or not given:
        told = f"found {alone[0]} alone" if alone else "found none"
        raise DataError(f"{folder}: expected images of the same names in {INPUT} and {TARGET}, {told}")
    return [(given[name], wanted[name]) for name in sorted(given)]
