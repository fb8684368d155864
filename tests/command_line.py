"""Outcome of a command of the command line: what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PATIENCE_S = 900
"""Time that a program is waited for before it counts as hanging: no test is faster or slower for it."""


@dataclass(frozen=True)
class Ended:
    """Command that has ended, by what it left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on standard output; fails where there is anything besides it."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on standard error of a command that ended with 1 and printed nothing."""
        assert (self.code, self.out) == (1, ""), self
        line, end = self.err[:-1], self.err[-1:]
        assert end == "\n" and "\n" not in line, self.err
        assert line.startswith("gearshift: "), self.err
        return line.removeprefix("gearshift: ")


Command = Callable[..., Ended]
