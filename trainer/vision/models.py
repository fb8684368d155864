"""Models to begin with: three small nets for small images, and those of torchvision and timm by name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from gearshift.errors import InputError, MissingExtraError, first_line
from gearshift.trainer.vision.generators import GENERATORS

LIBRARIES = ("torchvision", "timm")


class BasicBlock(nn.Module):
    """Residual block of two convolutions 3 x 3 (He et al. 2016, figure 5)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, value: Tensor) -> Tensor:
        """Return the sum of the shortcut and both convolutions."""
        made = self.relu(self.first_norm(self.first(value)))
        made = self.second_norm(self.second(made))
        return self.relu(made + self.shortcut(value))  # type: ignore[no-any-return]


class InvertedResidual(nn.Module):
    """Inverted residual (MobileNetV2, Sandler et al. 2018, section 3.3): widen, filter channel by channel, narrow."""

    def __init__(self, inputs: int, outputs: int, stride: int, widening: int, kernel: int = 3) -> None:
        super().__init__()
        inner = inputs * widening
        widen = [nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6()] if widening > 1 else []
        self.body = nn.Sequential(
            *widen,
            nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, value: Tensor) -> Tensor:
        """Return what the body makes of a value, added to it where shapes allow."""
        made: Tensor = self.body(value)
        return value + made if self.residual else made


def resnet20(labels: int) -> nn.Module:
    """Make the ResNet-20 for CIFAR (He et al. 2016, section 4.2): three stages of three blocks, 16, 32, 64 channels."""
    blocks = [BasicBlock(16, 16, 1) for _ in range(3)]
    for inputs, outputs in ((16, 32), (32, 64)):
        blocks += [BasicBlock(inputs, outputs, 2), *(BasicBlock(outputs, outputs, 1) for _ in range(2))]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, labels))


MOBILE_STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 1, 3), (6, 32, 3, 2, 3), (6, 64, 3, 2, 3), (6, 96, 2, 1, 3))
"""Stages of `mobilenet-small`: (widening, channels, blocks, stride of the first, kernel size), after table 2 of
MobileNetV2, without its first two halvings, which images of 32 pixels have no room for."""

KERNEL_STAGES = ((1, 16, 1, 1, 3), (4, 24, 3, 1, 5), (4, 32, 3, 2, 7), (4, 64, 3, 2, 5), (4, 96, 2, 1, 5))
"""Stages of `ofa-small`: those of `mobilenet-small` with larger filters, of which a subnet keeps the centre."""


def mobilenet_small(labels: int) -> nn.Module:
    """Make a net of the shape of MobileNetV2 for images of 32 pixels."""
    return _mobilenet(labels, MOBILE_STAGES)


def ofa_small(labels: int) -> nn.Module:
    """Make a net in the manner of Once-for-All's for images of 32 pixels: filters of 7, 5 and 3 places."""
    return _mobilenet(labels, KERNEL_STAGES)


def _mobilenet(labels: int, stages: Sequence[tuple[int, int, int, int, int]]) -> nn.Module:
    blocks: list[nn.Module] = [nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()]
    inputs = 32
    for widening, outputs, count, stride, kernel in stages:
        for number in range(count):
            blocks.append(InvertedResidual(inputs, outputs, stride if number == 0 else 1, widening, kernel))
            inputs = outputs
    last = [nn.Conv2d(inputs, 384, 1, bias=False), nn.BatchNorm2d(384), nn.ReLU6()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(384, labels)]
    return nn.Sequential(*blocks, *last, *head)


MODELS: Mapping[str, Callable[[int], nn.Module]] = {
    "resnet20": resnet20,
    "mobilenet-small": mobilenet_small,
    "ofa-small": ofa_small,
}
"""Name -> function that makes a net with this number of labels, and random weights."""


def make_model(name: str, labels: int, *, pretrained: bool = False) -> nn.Module:
    """Make a model by name: one of MODELS or GENERATORS, or `torchvision/NAME` or `timm/NAME`.

    Raises InputError for an unknown name, MissingExtraError if its library is not installed.
    """
    if name in (*MODELS, *GENERATORS):
        if pretrained:
            raise InputError(f"model: {name} has no pretrained weights; leave out --pretrained")
        return MODELS[name](labels) if name in MODELS else GENERATORS[name]()
    library, _, own = name.partition("/")
    if library not in LIBRARIES or not own:
        known = ", ".join([*MODELS, *GENERATORS, *(f"{each}/NAME" for each in LIBRARIES)])
        raise InputError(f"model: expected one of {known}, got {name!r}")
    if importlib.util.find_spec(library) is None:
        raise MissingExtraError(f"{name} needs {library}, which is not installed; run: pip install {library}")
    try:
        if library == "timm":
            made = importlib.import_module("timm").create_model(own, pretrained=pretrained, num_classes=labels)
        else:
            models = importlib.import_module("torchvision.models")
            made = models.get_model(own, weights="DEFAULT" if pretrained else None)
            _new_head(made, labels)
    except (ValueError, RuntimeError, OSError) as error:
        raise InputError(f"model: {library} cannot make {own!r} ({first_line(error)})") from error
    return made  # type: ignore[no-any-return]


def _new_head(model: nn.Module, labels: int) -> None:
    """Replace the last linear layer by one with this number of labels, unless it has as many."""
    name, last = [(name, each) for name, each in model.named_modules() if isinstance(each, nn.Linear)][-1]
    if last.out_features != labels:
        model.set_submodule(name, nn.Linear(last.in_features, labels))
