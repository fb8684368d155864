"""CycleGAN made small, step by step; each can be interrupted, and goes on where it was.

    python -m examples.gan --data PAIRS --classes IMAGES -o FOLDER [--size 128] [--width 32]

PAIRS: folder of pairs as `gearshift train --task image-to-image` reads it; which plan belongs to which photo is used
for the scores alone. IMAGES: folder of images by class, for the classifier whose features compare sets of images.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from examples.gan.fid import features_of, frechet_distance, train_classifier
from examples.gan.training import Stage, adaptors, cyclegan_step, discriminator, distil_step
from gearshift.export.pipeline import export_bundle
from gearshift.runtime.images.preparation import Preparation
from gearshift.runtime.space.convolutions import ConvolutionSubnet
from gearshift.trainer.data.image_pairs import read_pairs
from gearshift.trainer.data.images import ImageRows, read_images
from gearshift.trainer.learning.metrics import pixel_similarity
from gearshift.trainer.vision.cut import cut_channels
from gearshift.trainer.vision.elastic import ConvolutionalNet
from gearshift.trainer.vision.generators import resnet_generator
from gearshift.trainer.vision.rank import rank
from gearshift.trainer.vision.run import ImageCheckpoint, load_image_run, save_image_run

WIDTHS = (1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25)
HALF = (0.5,) * 3
STAGES = ("cyclegan", "mobile", "half", "elastic")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="PAIRS")
    parser.add_argument("--classes", type=Path, required=True, metavar="IMAGES")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--size", type=int, default=128, help="pixels of the height and width")
    parser.add_argument("--width", type=int, default=32, help="channels of the generator at the size of the image")
    parser.add_argument("--blocks", type=int, default=9, help="residual blocks of the generator")
    parser.add_argument("--batch", type=int, default=1, help="images of a step")
    parser.add_argument("--classifier-steps", type=int, default=4000, help="steps of the classifier of features")
    for stage, steps in zip(STAGES, (12_000,) * 4, strict=True):
        parser.add_argument(f"--{stage}-steps", type=int, default=steps, help=f"steps of the stage {stage}")
    parser.add_argument("--fewer", type=float, default=20.0, help="times fewer MACs that the chosen subnet must have")
    parser.add_argument("--save-every", type=int, default=200, help="steps between two saved states")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


@dataclass
class Pipeline:
    """Data, features and folder that the steps share."""

    options: argparse.Namespace
    splits: Any
    features: nn.Module
    preparation: Preparation

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return a batch of plans and one of other photos, half of them mirrored."""
        train, source = self.splits["train"], np.random
        seed = np.random.default_rng(source.randint(1 << 31))
        plans, photos = (train.select(source.randint(len(train), size=self.options.batch), seed) for _ in range(2))
        return plans.pixels, photos.labels

    def stage(self, name: str, parts: dict[str, nn.Module], learned: dict[str, tuple[str, ...]]) -> Stage:
        """Make a stage with its steps by the options."""
        steps = getattr(self.options, f"{name}_steps")
        return Stage(self.options.output / f"{name}.pt", steps, parts, dict(learned))

    @torch.no_grad()
    def score(self, split: str, net: ConvolutionalNet, subnet: ConvolutionSubnet) -> dict[str, float]:
        """Return the Fréchet distance to the photos of a split, and the mean error of the colours, of 255."""
        rows: ImageRows = self.splits[split]
        net.eval()
        made = torch.cat([net(batch.pixels, subnet).logits for batch in rows.batches(8)])
        real = torch.from_numpy(self.preparation.normalised(np.asarray(rows.labels)))
        net.train()
        apart = frechet_distance(features_of(self.features, made), features_of(self.features, real))
        return {"distance": apart, "error": 255 * (1 - pixel_similarity(list(made.numpy()), rows))}

    def row(self, step: str, net: ConvolutionalNet, subnet: ConvolutionSubnet) -> dict[str, Any]:
        """Return a row of the table."""
        stored = {
            f"{name}_bytes": sum(part.bytes(name) for part in subnet.parts(net.shape)) for name in ("fp32", "int8")
        }
        macs, parameters = subnet.macs(net.shape, self.options.size**2), subnet.parameters(net.shape)
        return {"step": step, "macs": macs, "parameters": parameters, **stored, **self.score("test", net, subnet)}


def main() -> None:
    """Run all steps, write the table and the bundle."""
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    preparation = Preparation(options.size, options.size, mean=HALF, deviation=HALF)
    splits = read_pairs(options.data, preparation).splits
    pipeline = Pipeline(options, splits, classifier(options), preparation)
    rows, elastic = compress(pipeline)
    (options.output / "steps.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    first = rows[0]
    for row in rows:
        print(
            f"{row['step']}: {row['macs'] / 1e6:.1f} M MACs ({first['macs'] / row['macs']:.1f} times fewer), "
            f"{row['fp32_bytes'] / 1e6:.2f} MB ({first['fp32_bytes'] / row['fp32_bytes']:.1f} times smaller), distance "
            f"{row['distance']:.3f}, error {row['error']:.1f}"
        )
    bundle(pipeline, elastic)


def classifier(options: argparse.Namespace) -> nn.Module:
    """Train the classifier of features, or read it."""
    path, small = options.output / "classifier.pt", Preparation(32, 32, mean=HALF, deviation=HALF)
    if path.is_file():
        return torch.load(path, weights_only=False)  # type: ignore[no-any-return]
    data = read_images(options.classes, small)
    net = train_classifier(data.splits["train"], len(data.labels), options.classifier_steps, options.seed)
    test = data.splits["test"]
    with torch.no_grad():
        right = sum(int((net(each.pixels).argmax(1) == each.labels).sum()) for each in test.batches(128))
    print(f"classifier of features: {right / len(test):.1%} of {len(test)} test images right", flush=True)
    torch.save(net, path)
    return net


def compress(pipeline: Pipeline) -> tuple[list[dict[str, Any]], ConvolutionalNet]:
    """Run the stages; return the rows of the table and the elastic net, of which the last row is a subnet."""
    options = pipeline.options
    size, width, blocks = options.size, options.width, options.blocks

    def generator(*, separable: bool) -> ConvolutionalNet:
        return ConvolutionalNet.convert(resnet_generator(width, blocks, separable=separable), size, size)

    parts: dict[str, nn.Module] = {name: generator(separable=False) for name in ("there", "back")}
    parts |= {name: discriminator(width) for name in ("photos", "plans")}
    stage = pipeline.stage("cyclegan", parts, {"generators": ("there", "back"), "judges": ("photos", "plans")})
    timed(stage, cyclegan_step(stage, pipeline.draw), options.save_every)
    teacher, photos = parts["there"], parts["photos"]
    assert isinstance(teacher, ConvolutionalNet)
    rows = [pipeline.row("ResNet generator", teacher, teacher.full)]
    for name, told in (("mobile", "separable convolutions"), ("half", "half of the channels"), ("elastic", "elastic")):
        student = generator(separable=True) if name == "mobile" else cut_channels(teacher, 0.5 if name == "half" else 1)
        if name == "elastic":
            rank(student)
        subnets = list(student.grid(WIDTHS, (1.0,)).values()) if name == "elastic" else [student.full]
        parts = {"student": student, "adaptors": adaptors(student, teacher), "photos": photos}
        stage = pipeline.stage(name, parts, {"student": ("student", "adaptors"), "judges": ("photos",)})
        timed(stage, distil_step(stage, teacher.eval(), pipeline.draw, subnets), options.save_every)
        teacher = student
        rows.append(pipeline.row(told, student, student.full))
    rows.append(pipeline.row(*chosen(pipeline, teacher, rows[0]["macs"])))
    return rows, teacher


def chosen(pipeline: Pipeline, net: ConvolutionalNet, of: int) -> tuple[str, ConvolutionalNet, ConvolutionSubnet]:
    """Return the subnet within the limit of MACs whose images of dev are nearest; the smallest if none is within it."""
    listed = net.grid(WIDTHS, (1.0,))
    macs = {name: subnet.macs(net.shape, pipeline.options.size**2) for name, subnet in listed.items()}
    within = [name for name, count in macs.items() if count * pipeline.options.fewer <= of]
    scores = {name: pipeline.score("dev", net, listed[name])["distance"] for name in within}
    name = min(scores, key=scores.__getitem__) if scores else min(macs, key=macs.__getitem__)
    return f"subnet {name}", net, listed[name]


def timed(stage: Stage, step: Any, every: int) -> None:
    """Run a stage, and tell the time of a step."""
    start = time.monotonic()
    taken = stage.run(step, every)
    if taken:
        print(f"{stage.path.stem}: {(time.monotonic() - start) / taken:.2f} s a step", flush=True)


def bundle(pipeline: Pipeline, net: ConvolutionalNet) -> None:
    """Write a run directory of the elastic net, and its bundle."""
    folder, rows = pipeline.options.output, pipeline.splits
    subnets = net.eval().grid(WIDTHS, (1.0,))
    shares = {
        split: {name: 1 - pipeline.score(split, net, subnet)["error"] / 255 for name, subnet in subnets.items()}
        for split in ("test", "dev")
    }
    save_image_run(
        folder / "run",
        ImageCheckpoint(net.eval(), (), pipeline.preparation),
        subnets=subnets,
        accuracies=shares["test"],
        dev_accuracies=shares["dev"],
        facts={"data": str(pipeline.options.data)},
        files={},
    )
    report = export_bundle(
        load_image_run(folder / "run"), folder / "generator.gearshift", rows["test"], dev=rows["dev"]
    )
    print(f"{report.bundle.path}: {len(subnets)} subnets, within {report.parity:.1g} of torch")


if __name__ == "__main__":
    main()
