from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import DataError
from gearshift.runtime.policy.objective import Objective, Tuning
from gearshift.runtime.sensors.caps import Caps
from gearshift.runtime.serving.record import LogHeader, ObjectiveChange, RequestRecord, SecondPass, modern

TABLE = LatencyTable(
    "ab" * 32,
    "fp32",
    "CPUExecutionProvider",
    1,
    (8, 32),
    {"big": (2.0, 6.0), "small": (1.0, 3.0)},
    {"big": (2.5, 6.5), "small": (1.5, 3.5)},
    5,
    "by hand",
    "2026-01-31",
)
HEADER = LogHeader(
    time=1e9,
    objective=Objective(target=0.95, max_cpu_share=0.3),
    ladder=("big", "small"),
    accuracies={"big": 0.9, "small": 0.8},
    table=TABLE,
)
ANSWERED = RequestRecord(
    time=1e9,
    arrival_s=12.5,
    tokens=(5, 7),
    deadline_ms=20.0,
    slack_ms=18.5,
    waited_ms=1.0,
    queued=True,
    backlog=((((16, 1),), 12.0), (((8, 2), (40, 1)), math.inf)),
    tokenizing_ms=0.3,
    subnet="big",
    reason="fits",
    expected_ms=4.0,
    predicted_ms=6.0,
    factor=1.5,
    run_ms=5.0,
    latency_ms=7.0,
    met=True,
    learnt_s=12.507,
    slow_down=1.2,
    level=1,
    caps=Caps(1, ("battery",)),
    signals={"others_cpu": 0.5},
)
SHED = RequestRecord(time=1e9, arrival_s=12.5, deadline_ms=20.0, error="shed")

numbers = st.floats(allow_nan=False, allow_infinity=False)
names = st.text()
works = st.lists(st.tuples(st.integers(0, 512), st.integers(0, 99))).map(tuple)
records = st.builds(
    RequestRecord,
    time=numbers,
    arrival_s=numbers,
    tokens=st.lists(st.integers(0, 512)).map(tuple),
    batched=st.booleans(),
    ranked=st.integers(0, 512),
    second=st.none()
    | st.builds(
        SecondPass,
        subnet=names,
        tokens=st.lists(st.integers(0, 512)).map(tuple),
        expected_ms=numbers,
        predicted_ms=numbers,
        run_ms=numbers,
    ),
    deadline_ms=st.none() | numbers,
    slack_ms=st.none() | numbers,
    waited_ms=numbers,
    queued=st.booleans(),
    together=st.integers(1, 16),
    backlog=st.lists(st.tuples(works, numbers | st.just(math.inf))).map(tuple),
    tokenizing_ms=numbers,
    subnet=st.none() | names,
    reason=st.none() | names,
    expected_ms=st.none() | numbers,
    predicted_ms=st.none() | numbers,
    factor=st.none() | numbers,
    run_ms=st.none() | numbers,
    latency_ms=st.none() | numbers,
    met=st.none() | st.booleans(),
    learnt_s=st.none() | numbers,
    slow_down=st.none() | numbers,
    level=st.integers(0, 20),
    caps=st.builds(Caps, st.integers(0, 20), st.lists(names).map(tuple)),
    signals=st.dictionaries(names, numbers),
    error=st.none() | names,
)


@given(records)
def test_a_record_survives_json(record: RequestRecord) -> None:
    assert RequestRecord.from_dict(json.loads(json.dumps(record.to_dict(), allow_nan=False))) == record


def test_the_property_above_fills_every_field() -> None:
    everything = replace(ANSWERED, batched=False, together=3, ranked=2, second=SecondPass("big", (5, 7), 4.0, 6.0, 5.0))
    assert set(everything.to_dict()) == {"kind", *(field.name for field in fields(RequestRecord))}
    for seldom in ("batched", "together"):  # as in logs from before there was a choice
        assert seldom not in ANSWERED.to_dict()


def test_a_change_of_the_objective_survives_json() -> None:
    change = ObjectiveChange(time=1e9, objective=Objective(target=0.9, min_accuracy=0.5))
    assert ObjectiveChange.from_dict(json.loads(json.dumps(change.to_dict(), allow_nan=False))) == change
    with pytest.raises(DataError, match=r"^a change of the objective: not of schema version 2 \(target.*\); use the"):
        ObjectiveChange.from_dict({"time": 1.0, "objective": {"target": 7}})


def test_a_header_survives_json() -> None:
    assert LogHeader.from_dict(json.loads(json.dumps(HEADER.to_dict(), allow_nan=False))) == HEADER


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_have_are_left_out(odd: float) -> None:
    read = RequestRecord.from_dict(replace(ANSWERED, factor=odd, signals={"a": odd, "b": 1.0}).to_dict())
    assert (read.factor, read.signals) == (None, {"b": 1.0})


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (ANSWERED, "in_time"),
        (replace(ANSWERED, met=False), "late"),
        (replace(ANSWERED, met=None), "no_deadline"),
        (SHED, "shed"),
    ],
)
def test_a_request_ends_in_one_way(record: RequestRecord, outcome: str) -> None:
    assert record.outcome == outcome


def test_work_and_ratio_follow_from_the_rest() -> None:
    assert (ANSWERED.work, ANSWERED.ratio) == (((7, 2),), 5.0 / 4.0)
    assert (SHED.work, SHED.ratio) == ((), None)
    assert replace(ANSWERED, batched=False).work == tuple((length, 1) for length in ANSWERED.tokens)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("time", None),
        ("time", "now"),
        ("arrival_s", True),
        ("tokens", 3),
        ("tokens", [1.5]),
        ("subnet", 4),
        ("met", "yes"),
        ("slack_ms", "1"),
        ("caps", {"largest": 0}),
        ("caps", None),
        ("queued", None),
        ("backlog", [[[[8, 1]]]]),
        ("backlog", [[[[8, 1]], "soon"]]),
        ("backlog", [[[8], 1.0]]),
        ("signals", [1]),
        ("signals", {"others_cpu": "high"}),
    ],
)
def test_a_value_of_another_kind_is_refused(name: str, wrong: Any) -> None:
    with pytest.raises(DataError, match=r"^a request: not of schema version 2 \(.+\); use the gearshift it is of$"):
        RequestRecord.from_dict({**ANSWERED.to_dict(), name: wrong})


@pytest.mark.parametrize("name", sorted(ANSWERED.to_dict().keys() - {"kind"}))
def test_a_missing_field_is_named(name: str) -> None:
    raw = {key: value for key, value in ANSWERED.to_dict().items() if key != name}
    with pytest.raises(DataError, match=f"missing or unknown fields: {name}"):
        RequestRecord.from_dict(raw)


def test_another_schema_version_is_refused() -> None:
    with pytest.raises(DataError, match="expected schema version 2, found 3"):
        LogHeader.from_dict({**HEADER.to_dict(), "schema_version": 3})


@pytest.mark.parametrize("ladder", [[], ["big", "huge"]])
def test_a_ladder_needs_accuracies_and_times(ladder: list[str]) -> None:
    with pytest.raises(DataError, match="ladder"):
        LogHeader.from_dict({**HEADER.to_dict(), "ladder": ladder})


@pytest.mark.parametrize("objective", [{"targets": 0.9}, {"min_accuracy": 2.0}, None])
def test_an_objective_that_cannot_be_used_is_refused(objective: object) -> None:
    with pytest.raises(DataError, match=r"^a header: not of schema version 2 \(.+\); use the gearshift it is of$"):
        LogHeader.from_dict({**HEADER.to_dict(), "objective": objective})


@pytest.mark.parametrize(("rejects", "on_miss"), [(True, "reject"), (False, "best_effort")])
def test_lines_of_the_first_schema_version_are_read(rejects: bool, on_miss: str) -> None:
    steering = {"target": 0.9, "min_accuracy": None, "max_cpu_share": 0.3, "reject": rejects}
    tuning = {"margin": 0.7, "tolerance": 1.2, "adaptation": 0.2}
    others = {name: value for name, value in HEADER.to_dict().items() if name not in ("objective", "tuning")}
    header = LogHeader.from_dict(modern({**others, "schema_version": 1, "steering": {**steering, **tuning}}))
    wanted = Objective(target=0.9, max_cpu_share=0.3, on_miss=on_miss)
    assert header == replace(HEADER, objective=wanted, tuning=Tuning(**tuning))
    line = {"kind": "steering", "time": 3.0, "steering": {**steering, **tuning}}
    assert ObjectiveChange.from_dict(modern(line)) == ObjectiveChange(time=3.0, objective=wanted)


def test_a_header_without_schema_version_is_refused() -> None:
    with pytest.raises(DataError, match="expected schema version 2, found none"):
        LogHeader.from_dict(modern({"kind": "header", "steering": {}}))


def test_a_table_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(DataError, match="lengths"):
        LogHeader.from_dict({**HEADER.to_dict(), "table": {**TABLE.to_dict(), "lengths": []}})
