"""Write the facades of an archive of JPEG files as folders of pairs: plans as inputs, photos as targets.

    python -m examples.gan.facades ARCHIVES FOLDER

ARCHIVES has `train_photo.npz`, `train_plan.npz` and so on: the bytes of all files (`jpeg`) and where each begins
(`offsets`).
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

SIDES = {"plan": "input", "photo": "target"}


def main(archives: Path, folder: Path) -> None:
    """Write each file under its number."""
    for archive in sorted(archives.glob("*_*.npz")):
        split, _, kind = archive.stem.partition("_")
        place = folder / split / SIDES[kind]
        place.mkdir(parents=True, exist_ok=True)
        with np.load(archive) as arrays:
            content, offsets = arrays["jpeg"].tobytes(), arrays["offsets"].tolist()
        for number, (start, end) in enumerate(pairwise(offsets)):
            (place / f"{number:04}.jpg").write_bytes(content[start:end])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
