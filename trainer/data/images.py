"""Images in folders by class, as torchvision's ImageFolder has them, read once into arrays.

DATA/train/LABEL/*.png and the like, with `test` and `dev` (or `val`, `valid`, `validation`) beside `train`. A missing
split is held out of train, by the hash of the file's content. A folder of classes alone is split into all three.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gearshift.errors import DataError, InputError
from gearshift.runtime.images.decode import read_image
from gearshift.runtime.images.preparation import Preparation
from gearshift.trainer.data.batches import Counts

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Endings of image files, those of torchvision."""

SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "dev": ("dev", "val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Split -> names that its folder may have."""

HELD_OUT_SHARE = 0.1
"""Share of the training images that is held out for a split without a folder."""

MOST_BYTES = 4 << 30
"""Bytes of all images of a data set at the size of the net: they are kept in memory."""


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Images of a training step."""

    pixels: torch.Tensor
    """Normalised images, float32 (batch, 3, height, width)."""
    labels: torch.Tensor
    """Class of each image, (batch,)."""
    indices: torch.Tensor
    """Place of each image among its rows, (batch,)."""
    mean_over: Counts | None = None
    heads: tuple[()] = ()
    """Targets of several heads: a net of images has one."""

    @property
    def counts(self) -> Counts:
        """Counts by which losses divide their sums."""
        count = len(self.indices)
        return self.mean_over or Counts(count, count, count)

    @property
    def length(self) -> int:
        """Length of the rows: all images have the same size."""
        return 1

    @property
    def told(self) -> str:
        """Size of the batch, for messages."""
        return f"{len(self.pixels)} images of {self.pixels.shape[2]} x {self.pixels.shape[3]} pixels"

    def to(self, device: torch.device | str) -> ImageBatch:
        """Return the same batch on another device."""
        return ImageBatch(self.pixels.to(device), self.labels.to(device), self.indices.to(device), self.mean_over)

    def part(self, start: int, stop: int, mean_over: Counts) -> ImageBatch:
        """Return some images of the batch."""
        rows = slice(start, stop)
        return ImageBatch(self.pixels[rows], self.labels[rows], self.indices[rows], mean_over)


@dataclass(frozen=True, eq=False)
class ImageRows:
    """Images of a split, at the size of the net."""

    images: NDArray[np.uint8]
    """Images, (rows, height, width, 3)."""
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    """Names of the labels."""
    preparation: Preparation
    augmented: bool = False
    """Whether batches are mirrored and shifted at random, by the seed of their epoch."""
    task: str = "image-classification"
    null_threshold: None = None
    heads: tuple[()] = ()
    """Rows of several heads: a net of images has one."""
    unseen: int = 0
    """Number of images of a label that is not among `names`: none."""

    def __len__(self) -> int:
        return len(self.images)

    def batch_count(self, batch_size: int) -> int:
        """Return the number of batches that `batches` gives."""
        return -(-len(self) // batch_size)

    def batches(self, batch_size: int, *, seed: int | None = None) -> Iterator[ImageBatch]:
        """Give the batches of one epoch: each image once, shuffled by a seed, else in order."""
        if batch_size < 1:
            raise InputError(f"batch size: expected at least 1, got {batch_size}")
        source, changed = np.random.default_rng(seed), self.augmented and seed is not None
        order = np.arange(len(self)) if seed is None else source.permutation(len(self))
        for start in range(0, len(self), batch_size):
            yield self.select(order[start : start + batch_size], source if changed else None)

    def select(self, rows: Sequence[int] | NDArray[np.int64], source: np.random.Generator | None = None) -> ImageBatch:
        """Return the images at these places as one batch; `source` of random numbers changes them."""
        places = np.asarray(rows, np.int64)
        images = self.images[places]
        if source is not None:
            images = _changed(images, source)
        pixels = torch.from_numpy(self.preparation.normalised(images))
        return ImageBatch(pixels, torch.from_numpy(self.labels[places]), torch.from_numpy(places))


def _changed(images: NDArray[np.uint8], source: np.random.Generator) -> NDArray[np.uint8]:
    """Mirror half of the images, and shift each by up to an eighth of its size, as the CIFAR recipes do (4 of 32)."""
    _, height, width, _ = images.shape
    up, aside = height // 8, width // 8
    padded = np.pad(images, ((0, 0), (up, up), (aside, aside), (0, 0)))
    made = np.empty_like(images)
    for row, (top, left, mirrored) in enumerate(
        zip(
            source.integers(0, 2 * up + 1, len(images)),
            source.integers(0, 2 * aside + 1, len(images)),
            source.random(len(images)) < 0.5,
            strict=True,
        )
    ):
        cut = padded[row, top : top + height, left : left + width]
        made[row] = cut[:, ::-1] if mirrored else cut
    return made


@dataclass(frozen=True)
class ImageData:
    """Splits of a data set of images."""

    labels: tuple[str, ...]
    splits: Mapping[str, ImageRows]
    place: str
    notes: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """SHA-256 of all images and labels."""
        found = hashlib.sha256(repr(self.labels).encode())
        for name, rows in sorted(self.splits.items()):
            found.update(name.encode() + rows.labels.tobytes() + rows.images.tobytes())
        return found.hexdigest()


def read_images(
    path: Path,
    preparation: Preparation,
    *,
    labels: Sequence[str] = (),
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> ImageData:
    """Read the images in a folder at the size of a net; raise DataError.

    `labels`: those of a trained net, in its order; the folder must have no others.
    """
    if not path.is_dir():
        raise DataError(f"{path}: expected a folder of images by class, as torchvision's ImageFolder has it")
    found = {split: split_folder(path, names) for split, names in SPLITS.items()}
    train = found["train"]
    if train is None and any(found.values()):
        raise DataError(f"{path}: expected a folder {' or '.join(SPLITS['train'])} beside those of other splits")
    files = {split: _files(folder) for split, folder in found.items() if folder is not None}
    if train is None:
        files = {"train": _files(path)}
    names = tuple(labels) or tuple(sorted({label for label, _ in files["train"]}))
    strange = sorted({label for each in files.values() for label, _ in each} - set(names))
    if strange or len(names) < 2:
        raise DataError(f"{path}: expected the labels {', '.join(names)}, found {', '.join(strange) or 'one alone'}")
    check_bytes(path, preparation, sum(map(len, files.values())))
    total, done = sum(map(len, files.values())), 0
    splits: dict[str, ImageRows] = {}
    for split, listed in files.items():
        images = np.empty((len(listed), preparation.height, preparation.width, 3), np.uint8)
        for row, (_, file) in enumerate(listed):
            images[row] = preparation.resized(read_image(file))
            done += 1
            if done % 100 == 0:
                progress("images", done, total)
        classes = np.array([names.index(label) for label, _ in listed], np.int64)
        splits[split] = ImageRows(images, classes, names, preparation)
    splits, notes = held_out(path, splits)
    splits["train"] = dataclasses.replace(splits["train"], augmented=True)
    return ImageData(names, splits, str(path.resolve()), notes)


def split_folder(path: Path, names: Sequence[str]) -> Path | None:
    """Return the folder of a split, by one of its names; None if there is none, DataError if there are several."""
    there = [path / name for name in names if (path / name).is_dir()]
    if len(there) > 1:
        raise DataError(f"{path}: expected one of {', '.join(names)}, found {len(there)}; rename one")
    return there[0] if there else None


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Return (label, file) of all images in a folder of classes, in order; raise DataError without any."""
    found = [
        (label.name, file)
        for label in sorted(each for each in folder.iterdir() if each.is_dir())
        for file in image_files(label)
    ]
    if not found:
        raise DataError(f"{folder}: expected folders, one for each class, with images ({', '.join(SUFFIXES)})")
    return found


def image_files(folder: Path) -> list[Path]:
    """Return the image files in a folder and those below it, by name; none if it is not there."""
    return [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in SUFFIXES]


def check_bytes(path: Path, preparation: Preparation, count: int) -> None:
    """Raise DataError for more images than are kept in memory."""
    size = count * preparation.height * preparation.width * 3
    if size > MOST_BYTES:
        raise DataError(
            f"{path}: {count} images of {preparation.height} x {preparation.width} take {size >> 20} MB of memory, "
            f"more than {MOST_BYTES >> 20}; use fewer images or a smaller image size"
        )


def held_out(path: Path, splits: dict[str, ImageRows]) -> tuple[dict[str, ImageRows], tuple[str, ...]]:
    """Hold test and dev images out of train where they have no folder: by the hash of each image, so that equal images
    stay together."""
    notes = []
    for split in ("test", "dev"):
        if split in splits:
            continue
        train = splits["train"]
        drawn = np.array([_share(image, split) < HELD_OUT_SHARE for image in train.images], bool)
        if not drawn.any() or drawn.all():
            raise DataError(f"{path}: {len(train)} training images are too few to hold {split} images out of them")
        splits[split] = dataclasses.replace(train, images=train.images[drawn], labels=train.labels[drawn])
        splits["train"] = dataclasses.replace(train, images=train.images[~drawn], labels=train.labels[~drawn])
        notes.append(f"{path}: no {split} images; {int(drawn.sum())} of train are held out")
    return splits, tuple(notes)


def _share(image: NDArray[np.uint8], split: str) -> float:
    digest = hashlib.sha256(split.encode() + image.tobytes()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64
