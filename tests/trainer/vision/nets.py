"""Small nets with every part that can be elastic, with weights and statistics that tell channels apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.trainer.vision.generators import resnet_generator
from gearshift.trainer.vision.models import BasicBlock, InvertedResidual

SIZE = 16
"""Pixels of the height and width of the images."""

LABELS = 5


class SqueezedBlock(nn.Module):
    """Inverted residual with squeeze-and-excitation (MobileNetV3), written with functions."""

    def __init__(self, width: int, inner: int, kernel: int = 5) -> None:
        super().__init__()
        self.widen, self.widen_norm = nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.filter, self.filter_norm = (
            nn.Conv2d(inner, inner, kernel, 1, kernel // 2, groups=inner),
            nn.BatchNorm2d(inner),
        )
        self.squeeze, self.excite = nn.Conv2d(inner, 8, 1), nn.Conv2d(8, inner, 1)
        self.narrow, self.narrow_norm = nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, value: Tensor) -> Tensor:
        """Return the value and what the block makes of it."""
        made = F.hardswish(self.widen_norm(self.widen(value)))
        made = F.hardswish(self.filter_norm(self.filter(made)))
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(made, 1)))))
        made = self.narrow_norm(self.narrow(gate * made))
        return torch.add(value, made)


def residual() -> nn.Module:
    """Make a net of basic blocks, the second of which can be skipped, with a pool in its stem."""
    stem = [nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks = [BasicBlock(8, 16, 2), BasicBlock(16, 16, 1), BasicBlock(16, 16, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, LABELS))


def inverted() -> nn.Module:
    """Make a net of inverted residuals, as MobileNetV2 has them."""
    stem = [nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()]
    blocks = [InvertedResidual(8, 8, 1, 1), InvertedResidual(8, 12, 2, 4), InvertedResidual(12, 12, 1, 4)]
    last = [nn.Conv2d(12, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6(), nn.Identity()]
    return nn.Sequential(
        *stem, *blocks, *last, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(32, LABELS)
    )


class Squeezed(nn.Module):
    """Net of a block with squeeze-and-excitation, whose answer is a mean over the places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.blocks = nn.Sequential(SqueezedBlock(8, 32), SqueezedBlock(8, 16, 7))
        self.classifier = nn.Linear(8, LABELS)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (batch, labels)."""
        answer: Tensor = self.classifier(self.blocks(F.silu(self.stem(pixels))).mean((2, 3)))
        return answer


def chain() -> nn.Module:
    """Make a net without residual connections: all channels but the last are inner ones."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 1, 1),
        nn.BatchNorm2d(32),
        nn.Hardswish(),
        nn.AvgPool2d(2),
        nn.Conv2d(32, 16, 1),
        nn.Sigmoid(),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(16, LABELS),
    )


def stretched() -> nn.Module:
    """Make a net from image to image without residual connections, with every kind of pad and both kinds of norms."""
    return nn.Sequential(
        nn.ZeroPad2d((1, 0, 2, 1)),
        nn.Conv2d(3, 16, (4, 2)),
        nn.InstanceNorm2d(16, affine=True),
        nn.SiLU(),
        nn.ReplicationPad2d(1),
        nn.Conv2d(16, 24, 3, 2, bias=False),
        nn.BatchNorm2d(24),
        nn.Tanh(),
        nn.ConvTranspose2d(24, 16, 4, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ReflectionPad2d((1, 1, 0, 2)),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.InstanceNorm2d(16),
        nn.Conv2d(16, 3, 1),
        nn.Sigmoid(),
    )


NETS: Mapping[str, Callable[[], nn.Module]] = {
    "residual": residual,
    "inverted": inverted,
    "squeezed": Squeezed,
    "chain": chain,
    "stretched": stretched,
    "generator": lambda: resnet_generator(8, 2),
    "separable": lambda: resnet_generator(8, 2, separable=True),
}


def made(name: str) -> nn.Module:
    """Make a net by name, in evaluation, whose norms are not those of a net that has learnt nothing."""
    source = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = NETS[name]()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            _fill(part, source)
        if isinstance(part, nn.InstanceNorm2d) and part.affine:
            _spread(part, source)
    return module.eval()


def _fill(norm: Any, source: torch.Generator) -> None:
    norm.running_mean.copy_(torch.rand(norm.running_mean.shape, generator=source) - 0.5)
    norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=source) * 1.5 + 0.5)
    _spread(norm, source)


def _spread(norm: Any, source: torch.Generator) -> None:
    for tensor, low, high in ((norm.weight.data, 0.5, 1.5), (norm.bias.data, -0.5, 0.5)):
        tensor.copy_(torch.rand(tensor.shape, generator=source) * (high - low) + low)


def images(count: int = 4, seed: int = 1) -> Tensor:
    """Make random images, (count, 3, SIZE, SIZE)."""
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
