"""Preparation of an image for a net: resize, crop, normalise, as torchvision's transforms do.

Resizing is that of Pillow, which torchvision calls: a triangle filter as wide as the image shrinks (antialiasing), over
rows and then over columns, rounded to whole numbers after each, with filters rounded to 22 bits. New releases of Pillow
begin with the columns of a tall image, so that single numbers may differ by 1.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError
from gearshift.number_checks import is_finite, is_whole

MOST_PIXELS = 1 << 13
"""Largest height and width of a net's input."""

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's colours, by which most nets normalise."""


@dataclass(frozen=True)
class Preparation:
    """Size and colours of a net's input."""

    height: int = 224
    width: int = 224
    shorter: int = 0
    """Length in pixels of the shorter side before the centre is cut out; 0: the image is resized as it is, without a
    crop."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Mean of red, green and blue, from 0 to 1."""
    deviation: tuple[float, ...] = IMAGENET_DEVIATION

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            value = getattr(self, name)
            if not is_whole(value, 1, MOST_PIXELS):
                raise InputError(f"{name} of images: expected 1 to {MOST_PIXELS} pixels, got {value!r}")
        if not is_whole(self.shorter, 0, MOST_PIXELS) or 0 < self.shorter < max(self.height, self.width):
            raise InputError(f"shorter side: expected 0, or no less than the crop's sides, got {self.shorter!r}")
        for name in ("mean", "deviation"):
            values = getattr(self, name)
            fits = len(values) == 3 and all(map(is_finite, values)) and (name == "mean" or min(values) > 0)
            if not fits:
                raise InputError(f"{name} of images: expected three numbers, got {values!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {**vars(self), "mean": list(self.mean), "deviation": list(self.deviation)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Preparation:
        """Read the preparation that `to_dict` wrote."""
        return cls(**{**raw, "mean": tuple(raw["mean"]), "deviation": tuple(raw["deviation"])})

    def resized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an image (any height, any width, 3) at the net's size, resized and cropped."""
        if not self.shorter:
            return resize(image, self.height, self.width)
        height, width = image.shape[:2]
        if height <= width:
            size = self.shorter, max(1, int(self.shorter * width / height))
        else:
            size = max(1, int(self.shorter * height / width)), self.shorter
        whole = resize(image, *size)
        top, left = (round((of - to) / 2.0) for of, to in zip(size, (self.height, self.width), strict=True))
        centre: NDArray[np.uint8] = whole[top : top + self.height, left : left + self.width]
        return centre

    def normalised(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return images (rows, height, width, 3) as a net reads them: float32 (rows, 3, height, width)."""
        mean, deviation = (np.asarray(values, np.float32) for values in (self.mean, self.deviation))
        scaled = (images.astype(np.float32) / np.float32(255) - mean) / deviation
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def restored(self, image: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Return an image that was normalised, (3, height, width), as colours from 0 to 255, (height, width, 3)."""
        mean, deviation = (np.asarray(values, np.float32)[:, None, None] for values in (self.mean, self.deviation))
        colours = np.rint((image * deviation + mean) * np.float32(255))
        return np.ascontiguousarray(np.clip(colours, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return an image (height, width, 3) at another size, by Pillow's bilinear filter: over each row, then over each
    column."""
    if image.shape[1] != width:
        image = _filtered(image.transpose(1, 0, 2), width).transpose(1, 0, 2)
    return image if image.shape[0] == height else _filtered(image, height)


def _filtered(image: NDArray[np.uint8], wanted: int) -> NDArray[np.uint8]:
    """Return an image at another size of its first axis."""
    places, weights = _filter(image.shape[0], wanted)
    total = np.full((wanted, *image.shape[1:]), 1 << (FILTER_BITS - 1), np.int32)  # half, to round
    for tap in range(places.shape[1]):
        total += weights[:, tap, None, None] * image[places[:, tap]]
    return (total >> FILTER_BITS).astype(np.uint8)


FILTER_BITS = 22
"""Bits to which Pillow rounds its filters, so that sums of 255 times them fit into 32."""


@functools.lru_cache(maxsize=32)
def _filter(size: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the places of an axis that each new place is made of, and their weights, (wanted, taps) each."""
    scale = size / wanted
    support = max(scale, 1.0)
    taps = int(np.ceil(support)) * 2 + 1
    places, weights = np.zeros((wanted, taps), np.int64), np.zeros((wanted, taps), np.int32)
    for place in range(wanted):
        centre = (place + 0.5) * scale
        first, end = max(0, int(centre - support + 0.5)), min(size, int(centre + support + 0.5))
        shares = np.maximum(0.0, 1.0 - np.abs((np.arange(first, end) - centre + 0.5) / support))
        places[place, : end - first] = np.arange(first, end)
        weights[place, : end - first] = np.floor(shares / shares.sum() * (1 << FILTER_BITS) + 0.5)
    return places, weights
