"""CycleGAN made small: the distance of two sets of features, and stages that go on where they were."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from examples.gan.fid import frechet_distance
from examples.gan.training import (
    HIDDEN,
    RECONSTRUCTION,
    Stage,
    adaptors,
    cyclegan_step,
    discriminator,
    distil_step,
    trunk,
)
from gearshift.trainer.vision.cut import cut_channels
from gearshift.trainer.vision.elastic import ConvolutionalNet
from gearshift.trainer.vision.generators import resnet_generator

SIZE = 32


def test_the_distance_is_that_of_normal_distributions() -> None:
    source = np.random.default_rng(0)
    one = source.normal(size=(4000, 3)) * [1, 2, 0] + [0, 1, 5]  # the last feature never varies
    moved = one + np.array([3, 0, 4])
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(one, moved) == pytest.approx(25)
    wider = (one - one.mean(0)) * 2 + one.mean(0)
    assert frechet_distance(one, wider) == pytest.approx(np.trace(np.cov(one, rowvar=False)))
    assert frechet_distance(one, wider) == pytest.approx(frechet_distance(wider, one))


def draw() -> tuple[Tensor, Tensor]:
    return torch.rand(1, 3, SIZE, SIZE) * 2 - 1, torch.rand(1, 3, SIZE, SIZE) * 2 - 1


def generator(*, separable: bool = False) -> ConvolutionalNet:
    return ConvolutionalNet.convert(resnet_generator(4, 2, separable=separable), SIZE, SIZE)


def seeded() -> None:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)


def cyclegan(path: Path, steps: int) -> Stage:
    seeded()
    parts: dict[str, nn.Module] = {"there": generator(), "back": generator()}
    parts |= {"photos": discriminator(4), "plans": discriminator(4)}
    return Stage(path, steps, parts, {"generators": ("there", "back"), "judges": ("photos", "plans")})


def test_a_stage_that_was_interrupted_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = cyclegan(tmp_path / "whole.pt", 4)
    whole.run(cyclegan_step(whole, draw), every=2)
    cut = cyclegan(tmp_path / "cut.pt", 4)
    step = cyclegan_step(cut, draw)
    taken: list[int] = []

    def interrupted() -> dict[str, float]:
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(1)
        return step()

    with pytest.raises(KeyboardInterrupt):
        cut.run(interrupted, every=2)
    again = cyclegan(tmp_path / "cut.pt", 4)
    again.run(cyclegan_step(again, draw), every=2)
    for name, value in whole.parts["there"].state_dict().items():
        assert torch.allclose(value, again.parts["there"].state_dict()[name], atol=1e-5)
    done = cyclegan(tmp_path / "cut.pt", 4)
    done.run(lambda: pytest.fail("a stage that is over ran again"), every=2)
    assert done.done == 4 and not (tmp_path / "cut.partial.pt").exists()
    with pytest.raises(SystemExit, match="has 4 steps, not 5"):
        cyclegan(tmp_path / "cut.pt", 5).run(dict, every=2)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_student_comes_nearer_to_its_teacher(tmp_path: Path, share: float) -> None:
    seeded()
    teacher = generator().eval()
    student = cut_channels(generator(separable=True), share)
    assert len(trunk(student)) == len(trunk(teacher)) == 3
    subnets = list(student.grid((1.0, 0.5), (1.0,)).values())
    parts = {"student": student, "adaptors": adaptors(student, teacher), "photos": discriminator(4)}
    stage = Stage(tmp_path / "s.pt", 30, parts, {"student": ("student", "adaptors"), "judges": ("photos",)})
    told = []
    same = draw()
    step = distil_step(stage, teacher, lambda: same, subnets)

    def watched() -> dict[str, float]:
        told.append(step())
        return told[-1]

    stage.run(watched, every=100)
    first, last = (RECONSTRUCTION * losses["apart"] + HIDDEN * losses["hidden"] for losses in (told[0], told[-1]))
    assert last < first
