"""Makes the supernet: one trained encoder that holds subnets of many sizes. Needs `gearshift[train]`."""

from importlib import import_module
from typing import TYPE_CHECKING

from gearshift.runtime.extras import require

require(
    "train",
    "torch",
    "transformers",
    "safetensors",
    "huggingface_hub",
    "platformdirs",
    "tqdm",
    "scipy",
    "seqeval",
    "sklearn",
    "accelerate",
)

if TYPE_CHECKING:
    from gearshift.trainer.data import read_data as read_data
    from gearshift.trainer.dynabert import train_supernet as train_supernet
    from gearshift.trainer.pretrained import find_model as find_model
    from gearshift.trainer.settings import Settings as Settings
    from gearshift.trainer.supernet import Supernet as Supernet
    from gearshift.trainer.supernet_trainer import SupernetTrainer as SupernetTrainer

_MODULES = {
    "Settings": "settings",
    "Supernet": "supernet",
    "SupernetTrainer": "supernet_trainer",
    "find_model": "pretrained",
    "read_data": "data",
    "train_supernet": "dynabert",
}
"""Public name -> module of this package that defines it, imported at first use: torch takes seconds."""

__all__ = [*_MODULES]


if not TYPE_CHECKING:  # mypy would take any name

    def __getattr__(name: str) -> object:
        """Import a public name from its module."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Names of the module, the public ones included before they are imported."""
    return sorted({*globals(), *_MODULES})
