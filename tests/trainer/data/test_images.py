"""Folders of images by class: splits, held-out images, batches, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gearshift.errors import DataError
from gearshift.runtime.images.preparation import Preparation
from gearshift.trainer.data.images import ImageRows, read_images

SMALL = Preparation(8, 8)


def write(folder: Path, count: int, seed: int = 0) -> None:
    """Write random images of two classes."""
    source = np.random.default_rng(seed)
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = source.integers(0, 256, (10, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number:03d}.png")


def test_splits_are_folders_and_labels_are_folders_in_them(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        write(tmp_path / split, count)
    data = read_images(tmp_path, SMALL)
    assert data.labels == ("cat", "dog")
    assert {split: rows.labels.tolist() for split, rows in data.splits.items()} == {
        "train": [0] * 4 + [1] * 4,
        "dev": [0] * 2 + [1] * 2,
        "test": [0] * 3 + [1] * 3,
    }
    assert data.notes == ()
    expected = SMALL.resized(np.array(Image.open(tmp_path / "test" / "dog" / "000.png")))
    assert (data.splits["test"].images[3] == expected).all()


@pytest.mark.parametrize("below", ["", "train"])
def test_missing_splits_are_held_out_by_the_images_and_a_note_says_so(tmp_path: Path, below: str) -> None:
    write(tmp_path / below, 100)
    data = read_images(tmp_path, SMALL)
    counts = {split: len(rows) for split, rows in data.splits.items()}
    assert sum(counts.values()) == 200
    assert 5 < counts["test"] < 40
    assert 5 < counts["dev"] < 40
    assert len(data.notes) == 2
    assert read_images(tmp_path, SMALL).hash == data.hash
    seen = {image.tobytes() for image in data.splits["train"].images}
    assert not any(image.tobytes() in seen for split in ("dev", "test") for image in data.splits[split].images)


def test_only_training_images_are_changed_at_random_and_by_the_seed_alone(tmp_path: Path) -> None:
    write(tmp_path, 40)
    data = read_images(tmp_path, SMALL)
    assert {split: rows.augmented for split, rows in data.splits.items()} == {
        "train": True,
        "test": False,
        "dev": False,
    }
    train = data.splits["train"]

    def epoch(seed: int | None) -> torch.Tensor:
        return torch.cat([batch.pixels for batch in train.batches(16, seed=seed)])

    assert torch.equal(epoch(1), epoch(1))
    assert not torch.equal(epoch(1), epoch(2))
    assert torch.equal(epoch(None), torch.from_numpy(SMALL.normalised(train.images)))


def test_an_epoch_gives_each_image_once(tmp_path: Path) -> None:
    write(tmp_path, 20)
    train = read_images(tmp_path, SMALL).splits["train"]
    batches = list(train.batches(7, seed=3))
    assert len(batches) == train.batch_count(7)
    indices = torch.cat([batch.indices for batch in batches])
    assert sorted(indices.tolist()) == list(range(len(train)))
    labels = torch.cat([batch.labels for batch in batches])
    assert torch.equal(labels, torch.from_numpy(train.labels)[indices])


def test_a_changed_image_is_a_shifted_part_of_it_mirrored_or_not() -> None:
    image = np.arange(1, 65, dtype=np.uint8).reshape(1, 8, 8, 1).repeat(3, axis=3)
    rows = ImageRows(image.repeat(50, 0), np.zeros(50, np.int64), ("a", "b"), SMALL, augmented=True)
    (batch,) = rows.batches(50, seed=0)
    plain = SMALL.normalised(np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0))))
    cuts = [plain[0, :, top : top + 8, left : left + 8] for top in range(3) for left in range(3)]
    possible = [each for cut in cuts for each in (cut, cut[:, :, ::-1])]
    found = [[bool((pixels == each).all()) for each in possible].index(True) for pixels in batch.pixels.numpy()]
    assert len(set(found)) > 9


def test_folders_that_are_none_of_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder of images by class"):
        read_images(tmp_path / "absent", SMALL)
    with pytest.raises(DataError, match="expected folders, one for each class, with images"):
        read_images(tmp_path, SMALL)
    write(tmp_path / "test", 2)
    with pytest.raises(DataError, match="expected a folder train or training beside"):
        read_images(tmp_path, SMALL)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "cat" / "one.png")
    with pytest.raises(DataError, match="expected the labels cat, found dog"):
        read_images(tmp_path, SMALL)
    (tmp_path / "train" / "dog").mkdir()
    (tmp_path / "train" / "dog" / "broken.png").write_bytes(b"no image")
    with pytest.raises(Exception, match="not readable as an image"):
        read_images(tmp_path, SMALL)
