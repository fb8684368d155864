"""Latency estimates by the roofline model, from published constants, for boards never measured with gearshift.

An operator takes at least as long as its arithmetic at the peak rate, and as its weights at the rate of the memory
(Williams, Waterman and Patterson 2009, "Roofline"), on top of the cost of calling it.
This time is a floor: an estimate ranges from the floor to SLACK times the floor. A constant that nobody published
widens the range.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from gearshift.device_profiles.checks import check_names, mapping, positive, require
from gearshift.device_profiles.fingerprint import Fingerprint
from gearshift.device_profiles.operators import Operator
from gearshift.errors import ProfileError
from gearshift.schema import Schema

SCHEMA = Schema(version=1, advice="give each constant of the board and its source", error=ProfileError)

Range = tuple[float, float]

UNKNOWN: Mapping[str, Range] = {
    "cores": (1, 8),
    "clock_ghz": (1.0, 5.5),
    "fp32_per_cycle": (8, 32),  # ARM: Cortex-A53 to Cortex-X1
    "int8_per_cycle": (8, 128),  # ARM: the fp32 rate of a Cortex-A53, to four times that of a Cortex-X1
    "memory_gb_s": (2.2, 90.0),  # one core of a Raspberry Pi 3, to two channels of DDR5-5600
    "operator_us": (1.0, 10.0),  # a core of a server, to one a tenth as fast
}
"""Range of a constant that is null: from its least to its greatest published value, among the kinds of cores that lack
it."""

BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
"""Bytes of a weight by precision."""

SLACK = {"fp32": 3.5, "int8": 3.3}
"""Ratio measured / floor on the one machine we could measure, an AMD EPYC (Zen 5) with one thread: the 95th percentile
over subnets and lengths, the largest of several runs (benchmarks/results/roofline.md is the last one). It is unknown
for other kinds of CPU."""

CONSTANTS = ("cores", "clock_ghz", "fp32_per_cycle", "int8_per_cycle", "memory_gb_s", "operator_us")


@dataclass(frozen=True)
class Constant:
    """A published number with its source, or null if nobody published it."""

    value: float | None
    source: str | None

    def __post_init__(self) -> None:
        require(self.value is None or positive(self.value), f"expected a positive number or null, found {self.value!r}")
        require((self.value is None) == (self.source is None), "expected a source with every value, and none with null")


@dataclass(frozen=True)
class Board:
    """A device by its published constants. Raises ProfileError if a constant has no source."""

    name: str
    cpu: str
    matches: tuple[str, ...]
    """Prefixes of the CPU model in the fingerprint, if known."""
    cores: Constant
    """Number of cores of the fast kind."""
    clock_ghz: Constant
    fp32_per_cycle: Constant
    """Operations per cycle of one core: a multiply-accumulate counts as two."""
    int8_per_cycle: Constant
    memory_gb_s: Constant
    """Memory bandwidth of one core, in 10^9 bytes a second."""
    operator_us: Constant
    """Microseconds to call an operator."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the constants that are null."""
        return tuple(name for name in CONSTANTS if getattr(self, name).value is None)

    def is_of(self, device: Fingerprint) -> bool:
        """Return whether a device is such a board, so that its measurements replace the estimate."""
        return any(device.cpu_model.startswith(start) for start in self.matches)

    def roofline_ms(self, operators: Iterable[Operator], precision: str, threads: int = 1) -> Range:
        """Return the least time in ms that the constants allow, with every null at its best and at its worst."""
        work = list(operators)
        return (self._milliseconds(work, precision, threads, 0), self._milliseconds(work, precision, threads, 1))

    def estimate_ms(self, operators: Iterable[Operator], precision: str, threads: int = 1) -> Range:
        """Return the range in ms from the floor with every null at its best to SLACK times the floor with every null at
        its worst."""
        return self.estimate_ms_of(self.roofline_ms(operators, precision, threads), precision)

    @staticmethod
    def estimate_ms_of(floor: Range, precision: str) -> Range:
        """Return the range of `estimate_ms` for a known floor."""
        return (floor[0], floor[1] * SLACK.get(precision, SLACK["fp32"]))

    def _milliseconds(self, operators: Sequence[Operator], precision: str, threads: int, end: int) -> float:
        """Return the floor in ms. `end`: 0 for the best case, 1 for the worst."""
        cores = min(threads, int(self._bound("cores", 1 - end)))
        per_cycle = {kind: self._bound(f"{kind}_per_cycle", 1 - end) for kind in ("fp32", "int8")}
        rate = {kind: cores * self._bound("clock_ghz", 1 - end) * 1e3 * amount for kind, amount in per_cycle.items()}
        # Several cores share the memory to an unknown degree: from the bandwidth of one core to that of all.
        memory = self._bound("memory_gb_s", 1 - end) * 1e3 * (cores if end == 0 else 1)
        call = self._bound("operator_us", end)
        kind = "int8" if precision == "int8" else "fp32"
        total = 0.0
        for operator in operators:
            arithmetic = 2 * operator.macs / rate[kind if operator.weights else "fp32"]
            total += call + max(arithmetic, operator.weights * BYTES[precision] / memory)
        return total / 1e3

    def _bound(self, name: str, most: int) -> float:
        value = getattr(self, name).value
        return float(UNKNOWN[name][most] if value is None else value)

    @classmethod
    def from_fields(cls, raw: Mapping[str, Any]) -> Board:
        """Read a board from the fields of a JSON object, without the version; raises ProfileError."""
        check_names("board", raw, set(cls.__dataclass_fields__))
        try:
            constants = {name: Constant(**mapping(name, raw[name])) for name in CONSTANTS}
        except TypeError as error:
            raise ProfileError(f"board: a constant has a value and a source ({error})") from error
        return cls(**{**raw, **constants, "matches": tuple(raw["matches"])})


def boards() -> dict[str, Board]:
    """Return short name -> board, for all boards that ship with the package."""
    folder = resources.files("gearshift.device_profiles") / "boards"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return {
        file.name.removesuffix(".json"): SCHEMA.read_content(file.read_bytes(), Board.from_fields, file.name)
        for file in files
    }
