"""Shows how far an export is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from gearshift.export.pipeline import Progress


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A `progress` for `export_bundle`: one bar that is renamed as the work goes on; nothing when piped."""
    with tqdm(disable=None, unit="part") as bar:

        def show(what: str, done: int, total: int) -> None:
            bar.set_description(what, refresh=False)
            bar.total, bar.n = total, done
            bar.refresh()

        yield show
