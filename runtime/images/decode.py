"""Image files, read by Pillow (`gearshift[images]`); a device that is given arrays does without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError, StorageError, first_line
from gearshift.extras import require

MOST_FILE_PIXELS = 1 << 26
"""Pixels of the largest image that is read, 8192 x 8192: a small file can hold far more."""


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """Read an image file as an array (height, width, 3) of red, green and blue; raise InputError."""
    require("images", "pillow")
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_FILE_PIXELS:
                raise InputError(
                    f"{path}: expected an image of at most {MOST_FILE_PIXELS} pixels, "
                    f"found {image.width} x {image.height}"
                )
            return np.array(image.convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not readable as an image ({first_line(error)})") from error


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an image (height, width, 3), in the format of the file's ending; raise InputError or StorageError."""
    require("images", "pillow")
    from PIL import Image

    try:
        Image.fromarray(image).save(path)
    except ValueError as error:
        raise InputError(f"{path}: expected the ending of a format of images, such as .png") from error
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({first_line(error)})") from error


def checked_image(image: object, where: str = "") -> NDArray[np.uint8]:
    """Return an image that was given as an array (height, width, 3) uint8, or as a path; raise InputError."""
    if isinstance(image, str | Path):
        return read_image(image)
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"{where}expected an image, an array (height, width, 3) uint8 or a path, got {type(image).__name__}"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"{where}expected an array (height, width, 3) uint8, got {image.shape} {image.dtype}")
    return image
