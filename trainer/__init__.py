"""Makes the supernet: one trained encoder that holds subnets of many sizes. Needs `gearshift[train]`."""

from importlib import import_module
from typing import TYPE_CHECKING

from gearshift.extras import require

if TYPE_CHECKING:
    from gearshift.trainer.data.splits import read_data as read_data
    from gearshift.trainer.dynabert.settings import Settings as Settings
    from gearshift.trainer.dynabert.supernet import Supernet as Supernet
    from gearshift.trainer.dynabert.supernet_trainer import SupernetTrainer as SupernetTrainer
    from gearshift.trainer.dynabert.train import train_supernet as train_supernet
    from gearshift.trainer.model.pretrained import find_model as find_model

_MODULES = {
    "Settings": "dynabert.settings",
    "Supernet": "dynabert.supernet",
    "SupernetTrainer": "dynabert.supernet_trainer",
    "find_model": "model.pretrained",
    "read_data": "data.splits",
    "train_supernet": "dynabert.train",
}
"""Public name -> module of this package that defines it, imported at first use: torch takes seconds."""

__all__ = [*_MODULES]


if not TYPE_CHECKING:  # mypy would take any name

    def __getattr__(name: str) -> object:
        """Import a public name from its module."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        require("train")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Names of the module, the public ones included before they are imported."""
    return sorted({*globals(), *_MODULES})
