"""Options of a request beside its deadline, and the rows and the reading that follow from them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.text import Encoded
from gearshift.runtime.reading.reading import Reading, own_reading
from gearshift.runtime.reading.vectors import CutReading, checked_dimensions, prompt_of

if TYPE_CHECKING:
    from gearshift.runtime.reading.window_reading import WindowReader


class Options(TypedDict, total=False):
    """Options of `run`, `submit` and `arun`; None is as good as none."""

    overlap: int | None
    """Number of tokens that windows of a long text share, for tagging, questions and embeddings; without it a text that
    is longer than the model reads is cut."""
    dimensions: int | None
    """Count of numbers, from the first on, that a vector is cut to; it is of length 1 again where the model's are."""
    prompt_name: str | None
    """Name of the prompt of an embedding model in place of its default one."""
    prompt: str | None
    """Text of a prompt, in place of a named one; empty for none."""


NAMES = tuple(Options.__annotations__)


class RequestReader:
    """Source of rows and readings for requests with options, for one opened bundle."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._own = own_reading(opened)
        vectors = opened.bundle.manifest.vectors
        self._normalized = vectors is not None and vectors.normalized

    @functools.cached_property
    def _windows(self) -> WindowReader:
        from gearshift.runtime.reading.window_reading import WindowReader  # most engines read no windows

        return WindowReader(self._opened)

    def rows(self, texts: Sequence[Any], options: Options) -> tuple[Encoded, Reading | None]:
        """Return the rows of some texts and their reading, None for the task's own.

        Raises InputError for options that this bundle cannot follow, TypeError for those that there are not.
        """
        for name in options:
            if name not in NAMES:
                raise TypeError(f"unexpected keyword argument {name!r}; expected deadline_ms, {', '.join(NAMES)}")
        given = {name: value for name, value in options.items() if value is not None}
        if not given:
            return self._opened.encoder.encode(texts), None
        manifest = self._opened.bundle.manifest
        prompt = prompt_of(manifest, given.get("prompt_name"), given.get("prompt"))
        width = checked_dimensions(manifest, given["dimensions"]) if "dimensions" in given else None
        reading: Reading
        if "overlap" in given:
            encoded, reading = self._windows.reading(texts, given["overlap"], prompt)
        else:
            encoded, reading = self._opened.encoder.encode(texts, [prompt] * len(texts)), self._own
        if width is not None:
            reading = CutReading(reading, width, normalized=self._normalized)
        return encoded, reading
