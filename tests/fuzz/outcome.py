"""Outcome of a case, and a kind of cases."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Outcome(enum.Enum):
    """Outcome of a case."""

    UNCHANGED = "unchanged answers"
    OTHER = "a normal result, with other values"
    REFUSED = "refused in one line"
    WRONG = "other answers in silence"
    TRACEBACK = "an error that is none of ours, or of several lines"
    MEMORY = "asked for too much memory"
    KILLED = "ended the process"
    HUNG = "took too long"
    UNMADE = "the fuzzer itself failed"


FAILURES = frozenset(Outcome) - {Outcome.UNCHANGED, Outcome.OTHER, Outcome.REFUSED}


@dataclass(frozen=True)
class Result:
    outcome: Outcome
    told: str


@dataclass(frozen=True)
class Kind:
    """Kind of cases: files that are changed, and their use.

    `use` raises a GearshiftError of one line for a case that is refused, and returns whether answers and meaning are
    those of the files before the change. Other ones are WRONG, unless `make` returned that they may be: where the
    hashes were made right again, or where values are the user's own, another meaning is no fault.
    """

    name: str
    make: Callable[[Path, Path, random.Random], bool]
    """Fills an empty folder with a case, from the folder of `prepare`; returns whether the meaning may be another."""
    use: Callable[[Path, Path], bool]
    """Uses a case, given the folder of `prepare` and the case's own."""
    prepare: Callable[[Path], None]
    """Fills the kind's own folder with files to change."""
    weight: int = 1
    """Cases of this kind for one of a kind with weight 1."""
    imports: tuple[str, ...] = ()
    """Modules that every child would import, unless they are imported before it is forked."""
