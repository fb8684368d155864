"""Training of a net of convolutions: it learns, and an interrupted one ends as an uninterrupted one does."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gearshift.errors import InputError
from gearshift.runtime.images.preparation import Preparation
from gearshift.trainer.data.images import ImageData, ImageRows
from gearshift.trainer.vision.elastic import ConvolutionalNet
from gearshift.trainer.vision.models import MODELS, make_model
from gearshift.trainer.vision.run import ImageRun
from gearshift.trainer.vision.settings import EPOCHS, ImageSettings
from gearshift.trainer.vision.train import train_images
from tests.trainer.vision.nets import LABELS, SIZE, Squeezed, residual

PREPARATION = Preparation(SIZE, SIZE)
SETTINGS = ImageSettings(
    widths=(1.0, 0.5),
    depths=(1.0, 0.01),
    batch_size=16,
    teacher_epochs=4,
    width_epochs=1,
    depth_epochs=2,
    statistics_images=32,
    mixed_precision="no",
    save_every_s=0,
    evaluate_every=1,
)


def rows(count: int, seed: int) -> ImageRows:
    """Make images whose label is the place of a bright square, with noise."""
    source = np.random.default_rng(seed)
    labels = source.integers(0, LABELS, count)
    images = source.integers(0, 80, (count, SIZE, SIZE, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 3 * label : 3 * label + 3, label % 3] = 250
    return ImageRows(images, labels, tuple("abcde"), PREPARATION)


DATA = ImageData(tuple("abcde"), {"train": rows(128, 0), "dev": rows(32, 1), "test": rows(64, 2)}, "images")


def train(out: Path, settings: ImageSettings = SETTINGS) -> ImageRun:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = residual()
    return train_images(module, DATA, PREPARATION, settings, out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ImageRun:
    return train(tmp_path_factory.mktemp("runs") / "whole")


class Interrupted(KeyboardInterrupt):
    pass


def interrupt_at(monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    really_forward = ConvolutionalNet.forward
    count = 0

    def forward(model: ConvolutionalNet, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == stop:
            raise Interrupted
        return really_forward(model, *arguments)

    monkeypatch.setattr(ConvolutionalNet, "forward", forward)


def test_every_subnet_learns_and_is_measured_on_images_of_its_own(whole: ImageRun) -> None:
    assert list(whole.subnets) == ["w100-d100", "w050-d100", "w100-d001", "w050-d001"]
    assert whole.accuracies.keys() == whole.dev_accuracies.keys() == whole.subnets.keys()
    assert min(whole.accuracies.values()) > 0.8
    assert whole.facts["rows"] == {"train": 128, "dev": 32, "test": 64}
    assert whole.facts["fixed"] == {
        "4.second": "a residual connection adds to them",
        "4.shortcut.0": "a residual connection adds to them",
        "5.second": "a residual connection adds to them",
        "6.second": "a residual connection adds to them",
    }


@pytest.mark.parametrize("stop", [5, 40, 60, 110])  # in the stages of teacher, width and depth, and behind them
def test_an_interrupted_training_goes_on_to_the_same_weights(
    whole: ImageRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    with monkeypatch.context() as patched:
        interrupt_at(patched, stop)
        with pytest.raises(Interrupted):
            train(tmp_path / "again")
    assert not (tmp_path / "again").exists()
    again = train(tmp_path / "again")
    assert not (tmp_path / "again.partial").exists()
    mine, its = (run.checkpoint.model.state_dict() for run in (whole, again))
    for name, weight in mine.items():
        assert torch.equal(weight, its[name]), name
    assert again.accuracies == whole.accuracies


def test_another_training_does_not_go_on_from_an_interrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        interrupt_at(patched, 5)
        with pytest.raises(Interrupted):
            train(tmp_path / "run")
    with pytest.raises(InputError, match=r"holds an interrupted training with other settings or rows \(seed\)"):
        train(tmp_path / "run", ImageSettings(**{**SETTINGS.to_dict(), "seed": 1}))


def test_a_net_with_other_labels_is_refused(tmp_path: Path) -> None:
    data = ImageData(("a", "b"), DATA.splits, "images")
    with pytest.raises(InputError, match="expected 2 labels, as the images have, got 5"):
        train_images(residual(), data, PREPARATION, SETTINGS, tmp_path / "run")
    assert not any(tmp_path.iterdir())


def test_settings_of_texts_are_refused() -> None:
    for changes in ({"max_length": 32}, {"augment": 2}, {"sparsity": 0.5}, {"distil_dropout": False}):
        with pytest.raises(InputError, match=f"settings: {next(iter(changes))} is for texts; leave it out for images"):
            ImageSettings(**changes)
    with pytest.raises(InputError, match="expected an image_size of 8 pixels or more"):
        ImageSettings(image_size=4)


def test_epochs_follow_from_the_effort_where_they_are_not_set() -> None:
    for effort, epochs in EPOCHS.items():
        settings = ImageSettings(effort=effort, teacher_epochs=3).with_epochs()
        assert (settings.teacher_epochs, settings.depth_epochs) == (3, epochs["depth_epochs"])


def test_large_images_are_cut_and_small_ones_whole() -> None:
    assert ImageSettings(image_size=224).preparation == Preparation(224, 224, 256)
    assert ImageSettings(image_size=32).preparation == Preparation(32, 32, 0)


def test_a_stage_of_kernels_teaches_smaller_filters_and_their_matrices(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Squeezed()
    settings = dataclasses.replace(
        SETTINGS, widths=(1.0,), depths=(1.0,), teacher_epochs=1, kernel_epochs=1, width_epochs=0, depth_epochs=0
    )
    run = train_images(module, DATA, PREPARATION, settings, tmp_path / "run")
    assert list(run.subnets) == ["w100-d100", "w100-d100-k5", "w100-d100-k3"]
    for matrix in run.checkpoint.model.transforms.values():
        assert not torch.equal(matrix, torch.eye(len(matrix)))


@pytest.mark.parametrize("kernels", [(), (4,), (3, -1)])
def test_kernel_sizes_are_odd(kernels: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="kernels: expected odd sizes of filters"):
        ImageSettings(kernels=kernels)


@pytest.mark.parametrize("name", MODELS)
def test_by_default_a_net_for_small_images_has_twelve_subnets_over_eight_times_the_macs(name: str) -> None:
    net = ConvolutionalNet.convert(make_model(name, 10), 32, 32)
    macs = [subnet.macs(net.shape, 32 * 32) for subnet in net.grid(*ImageSettings().dimensions).values()]
    assert len(macs) == len(set(macs)) >= 12
    assert max(macs) > 8 * min(macs)
