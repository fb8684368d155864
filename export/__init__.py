"""Export of a trained supernet as a bundle: one elastic graph per precision. Needs `gearshift[export]`."""

from importlib import import_module
from typing import TYPE_CHECKING

from gearshift.extras import require

require("export", "onnx")  # a bundle is trimmed without torch

if TYPE_CHECKING:
    from gearshift.export.embed import embed_bundle as embed_bundle
    from gearshift.export.pipeline import export_bundle as export_bundle
    from gearshift.export.trim import trim_bundle as trim_bundle

_MODULES = {
    "embed_bundle": "embed",
    "export_bundle": "pipeline",
    "trim_bundle": "trim",
}
"""Public name -> module that defines it, imported at first use, as torch takes seconds to import."""

__all__ = [*_MODULES]


if not TYPE_CHECKING:  # mypy would take any name

    def __getattr__(name: str) -> object:
        """Import a public name from its module."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "export_bundle":  # the others take a bundle
            require("train")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """List the names of the module, including public names that are not imported yet."""
    return sorted({*globals(), *_MODULES})
