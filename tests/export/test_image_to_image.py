"""Bundles from image to image: pairs in folders, a supernet of a generator, its bundle, and the engine's images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from gearshift.__main__ import main
from gearshift.errors import DataError, InputError
from gearshift.export.pipeline import ExportReport, export_bundle
from gearshift.runtime import Engine, ImageToImage
from gearshift.runtime.graph.check import check_content
from gearshift.runtime.images.preparation import Preparation
from gearshift.trainer.data.image_pairs import pair_rows, read_pairs
from gearshift.trainer.vision import generators
from gearshift.trainer.vision.elastic import ConvolutionalNet
from gearshift.trainer.vision.run import ImageCheckpoint, ImageRun, load_image_run, save_image_run
from tests.export.test_images import changed, nodes_of
from tests.trainer.vision.nets import SIZE, made

PREPARATION = Preparation(SIZE, SIZE, mean=(0.5,) * 3, deviation=(0.5,) * 3)


def pixels(count: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def write_pairs(folder: Path, counts: dict[str, int]) -> Path:
    """Write pairs: of a dark image its bright negative."""
    for seed, (split, count) in enumerate(counts.items()):
        for number, image in enumerate(pixels(count, seed) // 2):
            for side, shown in (("input", image), ("target", 255 - image)):
                place = folder / split / side / f"{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(shown).save(place)
    return folder


@pytest.fixture(scope="module", params=["generator", "separable"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ImageRun:
    """Run directory of a generator that has learnt nothing."""
    net = ConvolutionalNet.convert(made(request.param), SIZE, SIZE).eval()
    grid = net.grid((1.0, 0.5), (1.0, 0.5))
    shares = dict.fromkeys(grid, 0.5)
    path = tmp_path_factory.mktemp("runs") / "run"
    save_image_run(
        path,
        ImageCheckpoint(net, (), PREPARATION),
        subnets=grid,
        accuracies=shares,
        dev_accuracies=shares,
        facts={"data": None},
        files={},
    )
    return load_image_run(path)


@pytest.fixture(scope="module", params=["fast", "standard"])
def report(request: pytest.FixtureRequest, run: ImageRun, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    rows = pair_rows(pixels(6, 1), pixels(6, 2), PREPARATION)
    out = tmp_path_factory.mktemp("bundles") / f"{request.param}.gearshift"
    return export_bundle(run, out, rows, dev=rows, operators=request.param)


def test_every_subnet_makes_the_image_that_torch_makes(report: ExportReport, run: ImageRun) -> None:
    assert report.parity is not None and report.parity < 1e-5
    given = np.random.default_rng(5).integers(0, 256, (40, 25, 3), np.uint8)
    batch = torch.from_numpy(PREPARATION.normalised(PREPARATION.resized(given)[None]))
    found = []
    with Engine.load(report.bundle.path, threads=1, sensors=False, cache=False) as engine:
        for name, subnet in run.subnets.items():
            engine.pin(name)
            answer = engine.run(given, deadline_ms=10_000)
            assert isinstance(answer, ImageToImage) and answer.subnet == name and answer.deadline_met
            wanted = PREPARATION.restored(run.checkpoint.model(batch, subnet).logits[0].detach().numpy())
            assert answer.image.shape == (SIZE, SIZE, 3) and answer.image.dtype == np.uint8
            assert np.abs(answer.image.astype(int) - wanted).max() <= 1  # at a half, rounding may differ
            found.append(answer.image.tobytes())
    assert len(set(found)) == len(run.subnets)


def test_accuracy_is_one_less_the_mean_error_of_the_colours(report: ExportReport, run: ImageRun) -> None:
    manifest = report.bundle.manifest
    assert (manifest.task, manifest.metric, manifest.labels) == ("image-to-image", "pixel_similarity", ())
    (entry,) = [each for each in manifest.pool if each.name == "w100-d100"]
    batch = torch.from_numpy(PREPARATION.normalised(pixels(6, 1)))
    outputs = run.checkpoint.model(batch, run.subnets["w100-d100"]).logits.detach().numpy()
    made_images = np.stack([PREPARATION.restored(output) for output in outputs])
    error = np.abs(made_images.astype(float) - pixels(6, 2)).mean() / 255
    assert entry.accuracy == pytest.approx(1 - error, abs=1e-4)
    assert "Pixel similarity is 1 less" in (report.bundle.path / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("operator", "name", "value"),
    [
        ("Pad", "mode", "wrap"),
        ("ConvTranspose", "strides", [0, 2]),
        ("ConvTranspose", "pads", [9, 9, 9, 9]),
        ("ConvTranspose", "output_padding", [2, 2]),
        ("ConvTranspose", "kernel_shape", [5, 5]),
        ("ReorderOutput", "channels", 99),
    ],
)
def test_a_graph_with_other_windows_pads_or_channels_is_refused(
    report: ExportReport, operator: str, name: str, value: Any
) -> None:
    bundle = report.bundle
    model = onnx.load(bundle.path / "fp32.onnx", load_external_data=False)
    nodes = nodes_of(model, operator)
    assert bool(nodes) or operator == "ReorderOutput"
    if not nodes:
        return  # standard operators have no blocks
    check_content(model.SerializeToString(), bundle.manifest, bundle.graph_files("fp32"))
    changed(nodes[0], name, value)
    with pytest.raises(ValueError, match=operator):
        check_content(model.SerializeToString(), bundle.manifest, bundle.graph_files("fp32"))


def test_pairs_are_read_by_name_and_held_out_where_a_split_is_missing(tmp_path: Path) -> None:
    data = read_pairs(write_pairs(tmp_path / "pairs", {"train": 40, "test": 3}), PREPARATION)
    assert len(data.splits["test"]) == 3 and data.labels == ()
    assert len(data.splits["train"]) + len(data.splits["dev"]) == 40 and len(data.splits["dev"]) > 0
    for rows in data.splits.values():
        assert np.array_equal(rows.labels, 255 - rows.images)
    batch = next(data.splits["train"].batches(8, seed=3))
    assert torch.allclose(batch.labels, -batch.pixels, atol=1e-6)  # both are mirrored together
    (tmp_path / "pairs" / "train" / "target" / "7.png").unlink()
    with pytest.raises(DataError, match=r"expected images of the same names in input and target, found 7 alone"):
        read_pairs(tmp_path / "pairs", PREPARATION)
    with pytest.raises(DataError, match="expected train/input and train/target"):
        read_pairs(tmp_path / "none", PREPARATION)


def test_the_commands_train_export_and_run_a_generator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_pairs(tmp_path / "pairs", {"train": 24, "dev": 4, "test": 4})
    train = ["train", "--task", "image-to-image", "--data", str(data), "-o", str(tmp_path / "run"), "--image-size", "8"]
    short = ["--teacher-epochs", "1", "--depth-epochs", "1", "--batch-size", "8", "--widths", "1,0.5", "--depths", "1"]
    small: Any = generators.GENERATORS
    monkeypatch.setitem(small, "mobile-generator", lambda: generators.resnet_generator(4, 1, separable=True))
    assert main([*train, *short, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["task"], told["metric"]) == ("image-to-image", "pixel_similarity")
    bundle = tmp_path / "made.gearshift"
    assert main(["export", str(tmp_path / "run"), "-o", str(bundle)]) == 0
    capsys.readouterr()
    photo, out = str(data / "test" / "input" / "0.png"), tmp_path / "out.png"
    assert main(["run", str(bundle), photo, "--image", str(out), "--no-cache"]) == 0
    assert "image of 8 x 8 pixels" in capsys.readouterr().out
    with Engine.load(bundle, cache=False) as engine, Image.open(out) as written:
        assert np.array_equal(engine.run(photo).image, np.asarray(written))
    assert main(["run", str(bundle), photo, photo, "--image", str(out)]) == 1
    assert "--image: expected one image to answer, got 2" in capsys.readouterr().err


def test_a_net_for_classes_is_refused_for_pairs(tmp_path: Path) -> None:
    from gearshift.trainer.vision.settings import ImageSettings
    from gearshift.trainer.vision.train import train_images

    data = read_pairs(write_pairs(tmp_path / "pairs", {"train": 4, "dev": 2, "test": 2}), PREPARATION)
    with pytest.raises(InputError, match="expected one for image-to-image, got one for image-classification"):
        train_images(made("chain"), data, PREPARATION, ImageSettings(image_size=SIZE), tmp_path / "run")
