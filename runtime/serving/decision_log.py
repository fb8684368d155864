"""The decision log: one line of JSON for each request, with the decision, its inputs and its outcome."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gearshift.device_profiles.latency_table import LatencyTable
from gearshift.errors import DataError, StorageError, is_time_limit
from gearshift.json_reader import parse_json
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.serving.record import LogHeader, ObjectiveChange, RequestRecord, modern

logger = logging.getLogger(__name__)


class DecisionLog:
    """Decision log that appends lines to a file; safe to use from several threads. Raises StorageError on opening.

    A request never fails for its log: if a line cannot be written (a full disk), one warning goes to the program's log,
    and no more lines follow.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.RLock()  # a signal handler may make a request while its thread writes
        try:
            self._file: Any = self._path.open("ab", buffering=0)  # each line is written at once, and whole
            cut = _ends_within_a_line(self._path)
        except OSError as error:
            raise StorageError(
                f"{path}: the decision log could not be opened ({error.strerror}); name another file"
            ) from error
        if cut:  # the program before us was killed while it wrote
            self._append(b"\n")

    def write(self, entry: LogHeader | RequestRecord | ObjectiveChange) -> None:
        """Append one line. An engine writes its header first, then a record for each request."""
        self._append((json.dumps(entry.to_dict(), ensure_ascii=False, allow_nan=False) + "\n").encode())

    def begin(self, controller: Controller, table: LatencyTable) -> None:
        """Write the header of an engine whose controller starts with this table."""
        self.write(
            LogHeader(
                time=time.time(),
                objective=controller.objective,
                tuning=controller.tuning,
                ladder=controller.ladder,
                accuracies=controller.accuracies,
                table=table,
                dan=controller.dan,
                stated=None if controller.stated == controller.accuracies else controller.stated,
            )
        )

    def _append(self, content: bytes) -> None:
        with self._lock:
            if self._file is None:
                return
            try:
                self._file.write(content)
            except OSError as error:
                if is_time_limit(error):
                    raise
                logger.warning("%s: the decision log ends here (%s)", self._path, error.strerror)
                self._file.close()
                self._file = None

    def close(self) -> None:
        """Close the file; lines written afterwards are dropped."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


@dataclass(frozen=True)
class LoggedRun:
    """Part of a log that one engine wrote: its header, and its requests in the order in which they ended."""

    header: LogHeader
    records: tuple[RequestRecord, ...]
    changes: tuple[tuple[int, ObjectiveChange], ...] = ()
    """Changes of the objective, each with the number of requests that had ended before it."""


def read_log(path: str | Path) -> tuple[LoggedRun, ...]:
    """Read the runs of a decision log: one for each engine that wrote to the file, in the order of writing.

    The last line of a run is left out if it was cut off, because its program was killed. Raises DataError with file and
    line for anything else that does not belong in a log, and for a file without a header.
    """
    headers: list[LogHeader] = []
    records: list[list[RequestRecord]] = []
    changes: list[list[tuple[int, ObjectiveChange]]] = []
    cut: int | None = None
    for number, line in enumerate(_lines(Path(path)), start=1):
        try:
            raw = parse_json(line)
        except ValueError:  # includes bytes that are not UTF-8, such as a character that was cut in two
            if cut is not None:
                raise _unreadable(path, cut) from None
            cut = number
            continue
        raw = modern(raw) if isinstance(raw, dict) else {}
        kind = raw.get("kind")
        if kind not in ("header", "request", "objective"):
            raise DataError(f"{path}, line {number}: expected a header or a request of a log, found something else")
        if cut is not None and kind != "header":
            raise _unreadable(path, cut)
        cut = None
        try:
            if kind == "header":
                headers.append(LogHeader.from_dict(raw))
                records.append([])
                changes.append([])
            elif headers and kind == "request":
                records[-1].append(RequestRecord.from_dict(raw))
            elif headers:
                changes[-1].append((len(records[-1]), ObjectiveChange.from_dict(raw)))
            else:
                raise DataError("expected the header of a decision log first, found a request")
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
    if not headers:
        raise DataError(f"{path}: expected a decision log, found no header in it; `gearshift run --log` writes one")
    return tuple(
        LoggedRun(header, tuple(its), tuple(its_changes))
        for header, its, its_changes in zip(headers, records, changes, strict=True)
    )


def _unreadable(path: str | Path, number: int) -> DataError:
    return DataError(f"{path}, line {number}: expected one JSON object, found something else; this is no decision log")


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{path}: the decision log could not be read ({error.strerror}); name another file") from error


def _ends_within_a_line(path: Path) -> bool:
    """Return whether something follows the last line end; False for anything but a plain file, such as a pipe."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
