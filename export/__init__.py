"""Writes a trained supernet as a bundle: one elastic graph per precision. Needs `gearshift[export]`."""

from importlib import import_module
from typing import TYPE_CHECKING

from gearshift.extras import require

require("export", "onnx")  # a bundle is trimmed without torch

if TYPE_CHECKING:
    from gearshift.export.pipeline import export_bundle as export_bundle
    from gearshift.export.trim import trim_bundle as trim_bundle

_MODULES = {
    "export_bundle": "pipeline",
    "trim_bundle": "trim",
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
