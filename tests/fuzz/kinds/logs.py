"""Decision logs with other bytes, structure and values; and what reads them: a simulation, a plot, a replay's records.

Right is a clear error, or a normal result of whatever requests the log states.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from gearshift.device_profiles.profile import LatencyTable
from gearshift.drawing.log import plot_log
from gearshift.errors import DataError
from gearshift.runtime.policy.objective import Objective
from gearshift.runtime.sensors.caps import Caps
from gearshift.runtime.serving.decision_log import DecisionLog, read_log
from gearshift.runtime.serving.record import LogHeader, ObjectiveChange, RequestRecord
from gearshift.runtime.simulate import traces
from gearshift.runtime.simulate.policies import POLICIES
from gearshift.runtime.simulate.simulator import Ladder, Machine, simulate
from tests.fuzz.kinds.altered_bytes import altered
from tests.fuzz.kinds.json_values import changed_json
from tests.fuzz.outcome import Kind

LOG, PICTURE = "log.jsonl", "plot.svg"
DRAWN = "drawn"
"""File whose presence asks for a plot, which takes a second: of few cases."""

TIMES: dict[str, tuple[float, ...]] = {"big": (2.0, 6.0), "small": (1.0, 3.0)}
TABLE = LatencyTable("ab" * 32, "fp32", "CPUExecutionProvider", 1, (8, 32), TIMES, TIMES, 5, "by hand", "2026-01-31")
ACCURACIES = {"big": 0.9, "small": 0.8}


def prepare(base: Path) -> None:
    log = DecisionLog(base / LOG)
    log.write(LogHeader(time=1e9, objective=Objective(), ladder=tuple(TIMES), accuracies=ACCURACIES, table=TABLE))
    for number in range(8):
        if number == 4:
            log.write(ObjectiveChange(time=1e9 + number, objective=Objective(target=0.9)))
        log.write(
            RequestRecord(
                time=1e9 + number, arrival_s=float(number), tokens=(5 + number,), deadline_ms=20.0, slack_ms=18.5,
                backlog=((((16, 1),), 12.0),) * (number % 2), tokenizing_ms=0.3, subnet="big", reason="fits",
                expected_ms=4.0, predicted_ms=6.0, factor=1.5, run_ms=5.0, latency_ms=7.0, met=True,
                learnt_s=number + 0.007, slow_down=1.2, caps=Caps(number % 2, ("battery",)),
                signals={"others_cpu": 0.5},
            )
        )  # fmt: skip
    log.close()


def make(base: Path, case: Path, source: random.Random) -> bool:
    path = case / LOG
    path.write_bytes((base / LOG).read_bytes())
    if source.random() < 0.03:
        (case / DRAWN).touch()
    kind = source.random()
    if kind < 0.1:
        path.write_bytes(altered(path.read_bytes(), source))  # a pipe is waited for: whoever names one means it
        return True
    lines = path.read_bytes().splitlines(keepends=True)
    for _ in range(source.choice((1, 1, 2, 4))):
        place = source.randrange(len(lines))
        kind = source.random()
        if kind < 0.7:
            lines[place] = _changed(lines[place].strip(), source) + b"\n"
        elif kind < 0.8:
            lines[place] = altered(lines[place], source)
        elif kind < 0.9:
            lines[place : place + 1] = []
        else:
            lines.insert(place, source.choice((*lines, b"\n", b"\xff\n", b"null\n", b'{"kind": "header"}\n')))
        lines = lines or [b"{}\n"]
    path.write_bytes(b"".join(lines))
    return True


def _changed(line: bytes, source: random.Random) -> bytes:
    try:
        return changed_json(line, source)
    except (ValueError, RecursionError):  # it is no JSON any more
        return altered(line, source)


def used(base: Path, case: Path) -> bool:
    """Read a log for each of its uses; a use that refuses it does not keep the others from it."""
    path = case / LOG
    runs = read_log(path)
    for run in runs:
        for record in run.records:
            json.dumps(record.to_dict(), allow_nan=False)
    if (case / DRAWN).exists():
        try:
            plot_log(runs, case / PICTURE)
        except DataError as error:
            if "\n" in str(error):
                raise
    trace = traces.read_log(path)
    machine = Machine(trace, Ladder.of(ACCURACIES, TABLE))
    outcome = simulate(POLICIES["gearshift"](machine), machine)
    assert 0 <= outcome.goodput_accuracy <= 1
    DecisionLog(path).close()  # an engine would go on in it
    return path.read_bytes() == (base / LOG).read_bytes()


KINDS = (Kind("logs", make, used, prepare, weight=16),)
