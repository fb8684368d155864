"""Images as the graph of a bundle takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError
from gearshift.runtime.bundle.manifest import PIXELS, Manifest
from gearshift.runtime.images.decode import checked_image
from gearshift.runtime.inference.text import Call, Encoded

Image = NDArray[np.uint8] | Path
"""Image as a request gives it: an array (height, width, 3) of red, green and blue, or a file (a path may be a text)."""


class ImageEncoder:
    """Preparation of images for the graph of a bundle. Safe to use from several threads."""

    def __init__(self, manifest: Manifest) -> None:
        assert manifest.images is not None, "the manifest of a bundle of images"
        self._preparation = manifest.images

    def encode(self, items: Sequence[Any], prompts: Sequence[str | None] | None = None) -> Encoded:
        """Prepare images: arrays (height, width, 3) uint8, or paths; raise InputError for anything else.

        Each runs in a call of its own: a batch of images costs as much as its images do.
        """
        if any(prompts or ()):
            raise InputError("prompt: expected a bundle of texts, got one of images; leave it out")
        calls = []
        for row, item in enumerate(items):
            image = checked_image(item, f"image {row}: " if len(items) > 1 else "")
            pixels = self._preparation.normalised(self._preparation.resized(image)[None])
            calls.append(Call((row,), {PIXELS: pixels}))
        count = len(calls)
        return Encoded(
            tuple(calls),
            (1,) * count,
            (False,) * count,
            ((),) * count,
            (None,) * count,
            ((1, 1),) * count,
            batched=False,
            splits=(None,) * count,
            starts=((),) * count,
        )
