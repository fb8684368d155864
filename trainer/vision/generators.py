"""Generators of CycleGAN, image to image: with residual blocks, plain or separable.

1. The generator with residual blocks: Zhu et al. 2017 (https://arxiv.org/abs/1703.10593), appendix 7.2.
2. Separable convolutions in its blocks: GAN Compression (Li et al. 2020, https://arxiv.org/abs/2003.08936), 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn


class GeneratorBlock(nn.Module):
    """Residual block of two convolutions 3 x 3 behind reflected borders, without an activation after the sum."""

    def __init__(self, channels: int, *, separable: bool) -> None:
        super().__init__()
        made: list[nn.Module] = []
        for _ in range(2):
            made += [nn.ReflectionPad2d(1), *_filters(channels, separable=separable), nn.InstanceNorm2d(channels)]
            made += [nn.ReLU()]
        self.body = nn.Sequential(*made[:-1])

    def forward(self, value: Tensor) -> Tensor:
        """Return the value and what the block makes of it."""
        made: Tensor = self.body(value)
        return value + made


def _filters(channels: int, *, separable: bool) -> list[nn.Module]:
    if not separable:
        return [nn.Conv2d(channels, channels, 3)]
    filters = nn.Conv2d(channels, channels, 3, groups=channels)
    return [filters, nn.InstanceNorm2d(channels), nn.Conv2d(channels, channels, 1)]


def resnet_generator(width: int = 64, blocks: int = 9, *, separable: bool = False) -> nn.Module:
    """Make a generator; `width`: channels at the size of the image, four times as many in the residual blocks."""
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.InstanceNorm2d(width), nn.ReLU()]
    for channels in (width, 2 * width):
        layers += [nn.Conv2d(channels, 2 * channels, 3, 2, 1), nn.InstanceNorm2d(2 * channels), nn.ReLU()]
    layers += [GeneratorBlock(4 * width, separable=separable) for _ in range(blocks)]
    for channels in (4 * width, 2 * width):
        up = nn.ConvTranspose2d(channels, channels // 2, 3, 2, 1, output_padding=1)
        layers += [up, nn.InstanceNorm2d(channels // 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())


GENERATORS: Mapping[str, Callable[[], nn.Module]] = {
    "resnet-generator": resnet_generator,
    "mobile-generator": lambda: resnet_generator(separable=True),
}
"""Name -> function that makes a generator with random weights."""
