"""Plan of a device profile: conditions to measure, and the time budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gearshift.cpus import available_cpus
from gearshift.errors import InputError
from gearshift.number_checks import is_whole
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.opened import checked_lengths
from gearshift.runtime.sensors.cpus import effective_cpus

LENGTHS = (16, 64, 128)
"""Default lengths of texts in tokens, as far as the bundle accepts them."""

BUDGET_S = 60.0

CHECKED = 30
"""Default of `Plan.checked`."""


MOST_TEXTS = 65_536
"""Most texts of a call: more take the memory of any device."""


@dataclass(frozen=True)
class Plan:
    """Conditions to measure and the budget; `of` fills in defaults. Raises InputError for values out of range."""

    lengths: tuple[int, ...]
    threads: tuple[int, ...]
    precisions: tuple[str, ...]
    batch: int = 1
    budget_s: float = BUDGET_S
    seed: int = 0
    checked: int = CHECKED
    """Largest number of (subnet, length) pairs that the prediction is checked with."""

    def __post_init__(self) -> None:
        if not 0 < self.budget_s < float("inf"):
            raise InputError(f"budget: expected a number of seconds above 0, got {self.budget_s!r}")
        if not is_whole(self.batch, 1, MOST_TEXTS):
            raise InputError(f"batch: expected a whole number of texts from 1 to {MOST_TEXTS}, got {self.batch!r}")

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        *,
        lengths: Sequence[int] | None = None,
        threads: Sequence[int] | None = None,
        precisions: Sequence[str] | None = None,
        batch: int = 1,
        budget_s: float = BUDGET_S,
        seed: int = 0,
        checked: int = CHECKED,
    ) -> Plan:
        """Make a plan; by default LENGTHS, 1, 2, 4 ... threads up to the effective CPUs, and all precisions.

        Raises InputError, or BundleError for a precision that the bundle lacks.
        """
        for precision in precisions or ():
            bundle.pool(precision)
        chosen = tuple(precisions or bundle.precisions)
        return cls(chosen_lengths(bundle, lengths), _threads(threads), chosen, batch, budget_s, seed, checked)


def chosen_lengths(bundle: Bundle, given: Sequence[int] | None) -> tuple[int, ...]:
    """Return the given lengths, ascending, or else those of LENGTHS that the bundle accepts; raises InputError."""
    if given is not None:
        return checked_lengths(given, bundle)
    longest = bundle.manifest.max_length
    return tuple(tokens for tokens in LENGTHS if tokens <= longest) or (longest,)


def threads_text(threads: int) -> str:
    """Write a number of threads: `1 thread`, `2 threads`."""
    return "1 thread" if threads == 1 else f"{threads} threads"


def _threads(given: Sequence[int] | None) -> tuple[int, ...]:
    usable, effective = len(available_cpus()), max(1, int(effective_cpus()))
    if given is None:
        return tuple(sorted({2**power for power in range(10) if 2**power <= effective} | {effective}))
    if not given or not all(is_whole(number, 1, usable) for number in given):
        raise InputError(f"threads: expected 1 to {usable}, the CPUs that this process may use, got {list(given)}")
    return tuple(sorted(set(given)))
