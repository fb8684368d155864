"""Resizing is that of Pillow to one grey level, the crop is torchvision's, and files are read by Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gearshift.errors import InputError
from gearshift.runtime.images.decode import checked_image, read_image
from gearshift.runtime.images.preparation import Preparation, resize

SIZES = [(7, 5), (8, 8), (31, 64), (200, 33), (480, 640)]


def picture(height: int, width: int) -> Any:
    """Make an image with smooth parts, edges and noise."""
    rows, columns = np.mgrid[0:height, 0:width]
    source = np.random.default_rng(height * 1000 + width)
    smooth = np.stack([rows * 255 / height, columns * 255 / width, (rows // 3 + columns // 5) % 2 * 255], -1)
    return Image.fromarray(np.clip(smooth + source.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("given", SIZES)
@pytest.mark.parametrize("wanted", [(8, 8), (32, 32), (33, 20), (224, 224)])
def test_resizing_is_that_of_pillow_to_one_grey_level(given: tuple[int, int], wanted: tuple[int, int]) -> None:
    image = picture(*given)
    expected = np.array(image.resize((wanted[1], wanted[0]), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(resize(np.array(image), *wanted) - expected).max() <= 1


@pytest.mark.parametrize("wanted", [(31, 8), (200, 64), (8, 31), (64, 224)])
def test_a_single_axis_is_resized_number_by_number_as_pillow_does(wanted: tuple[int, int]) -> None:
    for given in ((wanted[0], 33), (45, wanted[1])):
        image = picture(*given)
        expected = np.array(image.resize((wanted[1], wanted[0]), Image.Resampling.BILINEAR))
        assert (resize(np.array(image), *wanted) == expected).all()


@pytest.mark.parametrize("given", SIZES)
def test_the_centre_is_cut_out_as_torchvision_does(given: tuple[int, int]) -> None:
    """Compare with `Resize(36)` and `CenterCrop((32, 30))` of torchvision, of which this is the arithmetic."""
    image, (height, width) = picture(*given), given
    size = (36, int(36 * width / height)) if height <= width else (int(36 * height / width), 36)
    whole = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    top, left = round((size[0] - 32) / 2.0), round((size[1] - 30) / 2.0)
    expected = np.array(whole.crop((left, top, left + 30, top + 32))).astype(int)
    found = Preparation(32, 30, shorter=36).resized(np.array(image))
    assert found.shape == (32, 30, 3)
    assert np.abs(found - expected).max() <= 1


def test_images_are_arrays_or_paths(tmp_path: Path) -> None:
    picture(9, 7).convert("L").save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png").shape == (9, 7, 3)
    assert checked_image(str(tmp_path / "grey.png")).shape == (9, 7, 3)
    array = np.zeros((9, 7, 3), np.uint8)
    assert checked_image(array) is array
    for strange, told in (
        ([1, 2], "an array .* or a path, got list"),
        (array.astype(np.float32), r"got \(9, 7, 3\) float32"),
        (array[..., :1], r"got \(9, 7, 1\) uint8"),
        (array[:0], r"got \(0, 7, 3\) uint8"),
        (tmp_path / "absent.png", "not readable as an image"),
    ):
        with pytest.raises(InputError, match=told):
            checked_image(strange)
