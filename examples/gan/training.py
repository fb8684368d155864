"""Training of the steps: CycleGAN, then a smaller generator that learns from the one before.

1. CycleGAN (Zhu et al. 2017, https://arxiv.org/abs/1703.10593): two generators, least-squares losses, cycles, identity.
2. GAN Compression (Li et al. 2020, https://arxiv.org/abs/2003.08936), section 3.1: a student's images are compared with
   its teacher's, its values in several layers too, and the teacher's discriminator goes on learning.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.runtime.space.convolutions import ConvolutionSubnet
from gearshift.trainer.vision.elastic import ConvolutionalNet

CYCLE, IDENTITY, RECONSTRUCTION, HIDDEN = 10.0, 5.0, 10.0, 1.0
"""Weights of the losses beside that of the discriminator, which has 1."""

FAKES = 50
"""Images of the past that a discriminator also sees."""

WATCHED = 4
"""Values of the trunk that a student learns from: before its residual blocks, and behind some of them."""

Draw = Callable[[], tuple[Tensor, Tensor]]
"""Function that returns a batch of plans and one of photos, which do not belong together."""


def discriminator(width: int) -> nn.Module:
    """Make the discriminator of patches, of three halvings (Zhu et al., appendix 7.2)."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    for inputs, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
        layers += [nn.Conv2d(inputs, 2 * inputs, 4, stride, 1), nn.InstanceNorm2d(2 * inputs), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))


class Adam:
    """Adam of CycleGAN, whose rate falls to zero over the second half of the steps."""

    def __init__(self, parameters: Any, steps: int) -> None:
        self.optimizer = torch.optim.Adam(parameters, 2e-4, betas=(0.5, 0.999))
        half = max(1, steps // 2)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda at: min(1.0, (steps - at) / half))

    def step(self, loss: Tensor) -> None:
        """Take a step down a loss."""
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()


class Stage:
    """Step of the pipeline that can be interrupted: its parts are saved every so many steps."""

    def __init__(self, path: Path, steps: int, parts: dict[str, nn.Module], learned: dict[str, Sequence[str]]) -> None:
        self.path, self.steps, self.parts, self.done = path, steps, parts, 0
        named = {name: [p for each in of for p in parts[each].parameters()] for name, of in learned.items()}
        self.adams = {name: Adam(parameters, steps) for name, parameters in named.items()}

    @property
    def partial(self) -> Path:
        """File of a stage that is not over."""
        return self.path.with_suffix(".partial.pt")

    def run(self, step: Callable[[], dict[str, float]], every: int) -> int:
        """Run the steps that are left, keep the parts, and return how many there were; `step` returns its losses by
        name."""
        if self.path.is_file():
            self._load(torch.load(self.path, weights_only=False))
            return 0
        if self.partial.is_file():
            self._load(torch.load(self.partial, weights_only=False))
        left = self.steps - self.done
        while self.done < self.steps:
            losses = step()
            self.done += 1
            if self.done % every == 0:
                print(self.path.stem, self.done, *(f"{name} {value:.3f}" for name, value in losses.items()), flush=True)
                self._save(self.partial)
        self._save(self.path)
        self.partial.unlink(missing_ok=True)
        return left

    def _save(self, path: Path) -> None:
        state = {
            "steps": self.steps,
            "done": self.done,
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "adams": {name: (a.optimizer.state_dict(), a.schedule.state_dict()) for name, a in self.adams.items()},
            "random": (random.getstate(), np.random.get_state(), torch.get_rng_state()),
        }
        fresh = path.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(path)

    def _load(self, state: dict[str, Any]) -> None:
        if state["steps"] != self.steps:
            raise SystemExit(f"{self.path}: has {state['steps']} steps, not {self.steps}; name another folder")
        self.done = state["done"]
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        for name, (optimizer, schedule) in state["adams"].items():
            self.adams[name].optimizer.load_state_dict(optimizer)
            self.adams[name].schedule.load_state_dict(schedule)
        random.setstate(state["random"][0])
        np.random.set_state(state["random"][1])
        torch.set_rng_state(state["random"][2])


class Past:
    """Images of the past (Zhu et al., section 4): half of the time an older one takes the place of a new one."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        """Return new images, or some older ones in their place."""
        shown = []
        for image in images.detach():
            if len(self.images) < FAKES:
                self.images.append(image)
            elif random.random() < 0.5:
                place = random.randrange(FAKES)
                self.images[place], image = image, self.images[place]
            shown.append(image)
        return torch.stack(shown)


def judged(judge: nn.Module, images: Tensor, real: float) -> Tensor:
    """Return the least-squares loss of a discriminator's answers."""
    answers: Tensor = judge(images)
    return (answers - real).square().mean()


def cyclegan_step(stage: Stage, draw: Draw) -> Callable[[], dict[str, float]]:
    """Return a step of CycleGAN with the parts `there`, `back`, `photos` and `plans`."""
    there, back, photos, plans = (stage.parts[name] for name in ("there", "back", "photos", "plans"))
    past = Past(), Past()

    def step() -> dict[str, float]:
        plan, photo = draw()
        made, unmade = there(plan).logits, back(photo).logits
        loss = judged(photos, made, 1) + judged(plans, unmade, 1)
        cycle = F.l1_loss(back(made).logits, plan) + F.l1_loss(there(unmade).logits, photo)
        same = F.l1_loss(there(photo).logits, photo) + F.l1_loss(back(plan).logits, plan)
        stage.adams["generators"].step(loss + CYCLE * cycle + IDENTITY * same)
        wrong = judged(photos, photo, 1) + judged(photos, past[0](made), 0)
        wrong = wrong + judged(plans, plan, 1) + judged(plans, past[1](unmade), 0)
        stage.adams["judges"].step(wrong / 2)
        return {"judged": loss.item(), "cycle": cycle.item(), "identity": same.item()}

    return step


def trunk(net: ConvolutionalNet) -> list[str]:
    """Return the values of the trunk that are watched."""
    blocks = net.elastic.blocks
    if not blocks:
        return []
    values = [blocks[0].kept, *(block.sum for block in blocks)]
    return [values[place] for place in np.unique(np.linspace(0, len(values) - 1, WATCHED).astype(int))]


def adaptors(student: ConvolutionalNet, teacher: ConvolutionalNet) -> nn.Module:
    """Make the convolutions that bring a student's values to the channels of its teacher's, in each watched layer."""
    pairs = zip(trunk(student), trunk(teacher), strict=True)
    return nn.ModuleList(nn.Conv2d(student.net.places[a][0], teacher.net.places[b][0], 1) for a, b in pairs)


def distil_step(
    stage: Stage, teacher: ConvolutionalNet, draw: Draw, subnets: Sequence[ConvolutionSubnet]
) -> Callable[[], dict[str, float]]:
    """Return a step of a student with the parts `student`, `adaptors` and `photos`: of its full net, or of the largest,
    the smallest and one other of its subnets, largest first."""
    student, adapt, photos = stage.parts["student"], stage.parts["adaptors"], stage.parts["photos"]
    assert isinstance(student, ConvolutionalNet) and isinstance(adapt, nn.ModuleList)
    watched, taught, past = trunk(student), trunk(teacher), Past()

    def step() -> dict[str, float]:
        plan, photo = draw()
        with torch.no_grad():
            wanted = teacher(plan, watched=taught)
        chosen = {subnets[0], subnets[-1], random.choice(subnets)}
        total, near, inside = torch.zeros(()), 0.0, 0.0
        made = []
        for subnet in sorted(chosen, key=subnets.index):
            output = student(plan, subnet, watched=watched)
            pairs = zip(adapt, output.hidden, wanted.hidden, strict=True)
            hidden = sum((F.mse_loss(layer(mine), other) for layer, mine, other in pairs), torch.zeros(()))
            apart = F.l1_loss(output.logits, wanted.logits)
            total = total + judged(photos, output.logits, 1) + RECONSTRUCTION * apart + HIDDEN * hidden
            made.append(output.logits)
            near, inside = apart.item(), hidden.item()
        stage.adams["student"].step(total / len(made))
        fake = past(random.choice(made))
        stage.adams["judges"].step((judged(photos, photo, 1) + judged(photos, fake, 0)) / 2)
        return {"apart": near, "hidden": inside}

    return step
