"""Figures of matplotlib: file formats, saving, and an axis for times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gearshift.errors import InputError, StorageError
from gearshift.extras import require
from gearshift.runtime.files.atomic import replacing_file

require("plot")  # before the import, so that a missing package is reported in one line

import matplotlib  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import LogLocator, NullFormatter  # noqa: E402

__all__ = ["FORMATS", "check_format", "plt", "save_figure", "show_milliseconds"]

matplotlib.use("Agg")  # a file, no window

FORMATS = (".png", ".svg")


def check_format(path: Path) -> None:
    """Raise InputError if a plot cannot be written to a file of that name."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: expected a name that ends in {' or '.join(FORMATS)}")


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure, atomically, and close it; raises InputError for an unknown format, StorageError."""
    try:
        check_format(path)
        if not path.parent.is_dir():  # a slip of the pen, rather than a folder to be made for one picture
            raise StorageError(f"{path}: could not be written (no directory {path.parent}); name another file")
        with replacing_file(path) as file:
            figure.savefig(file, dpi=110, format=path.suffix[1:].lower())
    finally:
        plt.close(figure)


def show_milliseconds(axis: Any, set_scale: Any) -> None:
    """Make an axis logarithmic, with plain numbers: 6, not 6 x 10^0."""
    set_scale("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
