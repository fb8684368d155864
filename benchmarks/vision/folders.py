"""Write a data set of images in one file as folders of images by class, which `gearshift train` reads.

python -m benchmarks.vision.folders DATA/cifar10 OUT [--most N]

DATA has train.npz and test.npz: `jpeg`, the bytes of all files in a row; `offsets`, their n + 1 places; `labels`, and
the `names` of these.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np


def main() -> None:
    """Write the folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--most", type=int, default=1 << 31, help="images of each split at most (default: all)")
    options = parser.parse_args()
    for split in ("train", "test"):
        write_split(options.data / f"{split}.npz", options.out / split, options.most)


def write_split(source: Path, folder: Path, most: int) -> None:
    """Write the images of a split: one file each, in the folder of its label."""
    with np.load(source, allow_pickle=False) as arrays:
        content, offsets = arrays["jpeg"].tobytes(), arrays["offsets"].tolist()
        labels, names = arrays["labels"].tolist(), arrays["names"].tolist()
    for name in names:
        (folder / str(name)).mkdir(parents=True, exist_ok=True)
    for number, label in enumerate(labels[:most]):
        file = folder / str(names[label]) / f"{number:05d}.jpg"
        file.write_bytes(content[offsets[number] : offsets[number + 1]])


if __name__ == "__main__":
    main()
