"""Latency of a bundle on other devices: measured there, predicted from operator costs, or estimated from constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from gearshift.device_profiles import DeviceProfile, Operator, OperatorCosts
from gearshift.device_profiles import profile as files
from gearshift.device_profiles.latency_table import predict
from gearshift.device_profiles.roofline import Board, boards
from gearshift.errors import ProfileError, StorageError
from gearshift.runtime.bench.operators.trace import trace
from gearshift.runtime.bench.result import Calibration
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.profiles.own import profile_directory

Kind = Literal["measured", "predicted", "estimated"]

ALL = "boards"
"""Name that stands for all boards that ship with gearshift."""


@dataclass(frozen=True)
class Subject:
    """Device to compare with: a profile measured on it, or a board by its published constants."""

    name: str
    profile: DeviceProfile | None = None
    board: Board | None = None


@dataclass(frozen=True)
class DeviceRow:
    """Latency of one subnet at one length on a device: a range from `low_ms` to `high_ms`, equal for a single value."""

    device: str
    kind: Kind
    precision: str
    threads: int
    subnet: str
    tokens: int
    low_ms: float
    high_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return asdict(self)


def find_subjects(names: Sequence[str]) -> list[Subject]:
    """Find a subject for each name: a profile file, a board's short name, or `boards` for all boards.

    If the user's directory has a measured profile of a board, that profile is used. Raises ProfileError for a name that
    is neither.
    """
    known = boards()
    subjects: list[Subject] = []
    for name in names:
        if name == ALL:
            subjects += [_of_board(board) for board in known.values()]
        elif name in known:
            subjects.append(_of_board(known[name]))
        else:
            subjects.append(_of_file(Path(name), known))
    return subjects


def _of_board(board: Board) -> Subject:
    for profile in _own_profiles():
        if board.is_of(profile.device):
            return Subject(f"{board.name}, calibrated", profile=profile)
    return Subject(board.name, board=board)


def _own_profiles() -> list[DeviceProfile]:
    profiles = []
    try:
        paths = sorted(profile_directory().glob("*.json"))
    except StorageError:
        return []
    for path in paths:
        try:
            profiles.append(files.load_profile(path))
        except ProfileError:  # the engine reports it when it looks for its own profile
            continue
    return [profile for profile in profiles if not profile.estimated]


def _of_file(path: Path, known: dict[str, Board]) -> Subject:
    if not path.is_file():
        raise ProfileError(
            f"--compare {path}: expected a profile file, {ALL}, dedicated, or one of {', '.join(known)}; no such file"
        )
    profile = files.load_profile(path)
    return Subject(f"{path.stem} ({profile.device.cpu_model})", profile=profile)


def compare(calibration: Calibration, subjects: Sequence[Subject]) -> tuple[DeviceRow, ...]:
    """Return rows for all precisions that were measured here, at the same lengths and number of threads."""
    if not subjects:
        return ()
    lengths, threads = calibration.measured[0].stages.lengths, calibration.shown_threads
    precisions = dict.fromkeys(measured.conditions.precision for measured in calibration.measured)
    return tuple(
        row
        for precision in precisions
        for row in device_rows(calibration.bundle, subjects, precision, lengths, threads)
    )


def device_rows(
    bundle: Bundle, subjects: Sequence[Subject], precision: str, lengths: Sequence[int], threads: int = 1
) -> list[DeviceRow]:
    """Return a row for each pool subnet and length on each subject that has data for it.

    Sources in order of preference: a latency table of this bundle, operator costs, constants of the board. The bundle
    runs once for each subnet and length to list its operators; the time of these runs is not used.
    """
    pool = bundle.pool(precision)
    cells = [(entry.choice, length) for entry in pool.values() for length in lengths]
    names = [(name, length) for name in pool for length in lengths]
    needed = any(_table(subject, bundle, precision, threads) is None for subject in subjects)
    traced = trace(bundle, precision, cells, warm_up=False) if needed else [[[]] for _ in cells]
    operators = {name: [one.operator for one in call] for name, (call,) in zip(names, traced, strict=True)}
    rows = []
    for subject in subjects:
        for (name, length), work in operators.items():
            found = _milliseconds(subject, bundle, precision, threads, name, length, work)
            if found is not None:
                kind, low, high = found
                rows.append(DeviceRow(subject.name, kind, precision, threads, name, length, low, high))
    return rows


def _table(subject: Subject, bundle: Bundle, precision: str, threads: int) -> files.LatencyTable | None:
    return None if subject.profile is None else subject.profile.table_for(bundle.hash, precision, threads)


def _costs(subject: Subject, precision: str, threads: int) -> OperatorCosts | None:
    return None if subject.profile is None else subject.profile.operators_for(precision, threads)


def _milliseconds(
    subject: Subject, bundle: Bundle, precision: str, threads: int, name: str, length: int, work: list[Operator]
) -> tuple[Kind, float, float] | None:
    table, costs = _table(subject, bundle, precision, threads), _costs(subject, precision, threads)
    if table is not None and name in table.median_ms:
        milliseconds = predict(table, name, length)
        return "measured", milliseconds, milliseconds
    if costs is not None:
        milliseconds = costs.predict_ms(work)
        return "predicted", milliseconds, milliseconds
    if subject.board is not None:
        return "estimated", *subject.board.estimate_ms(work, precision, threads)
    return None
