"""Profiles and latency tables: the file as it is written, and every way in which one can be wrong."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gearshift.device_profiles import (
    DeviceProfile,
    Fingerprint,
    LatencyTable,
    OperatorCosts,
    load_profile,
    save_profile,
)
from gearshift.errors import ProfileError

TABLE = LatencyTable(
    bundle_hash="abc123",
    precision="int8",
    provider="CPUExecutionProvider",
    threads=2,
    lengths=(16, 64),
    median_ms={"w100-d100": (4.5, 12.0), "w050-d100": (2.5, 7.25)},
    p95_ms={"w100-d100": (5.0, 13.5), "w050-d100": (3.0, 8.0)},
    runs=30,
    method="batch 1, 5 warm-up calls, subnets in turns",
    date="2026-01-31",
)
DEVICE = Fingerprint(
    cpu_model="Cortex-A72",
    cpu_features=("asimd",),
    cores=4,
    memory_mb=3977,
    machine="aarch64",
    system="Linux",
    governor=None,
    versions={"onnxruntime": "1.31.1"},
)
OPERATORS = OperatorCosts(
    precision="int8",
    provider="CPUExecutionProvider",
    threads=2,
    microseconds={"*": (3.0, 9.0, 100.0, 50.0, 700.0), "Add": (2.0, 0.0, 0.0, 60.0, 0.0)},
    between_us=-1.5,
    error_median=0.04,
    error_p95=None,
    shapes=190,
    method="by hand",
    date="2026-01-31",
)
PROFILE = DeviceProfile(device=DEVICE, estimated=False, tables=(TABLE,), operators=(OPERATORS,))

GOLDEN_SHA256 = "d479f8c4f5e19affc60502c7b96074ff2a98acd0d4a8672317d44c0c8c5d848f"
GOLDEN = {
    "schema_version": 2,
    "device": {
        "cpu_model": "Cortex-A72",
        "cpu_features": ["asimd"],
        "cores": 4,
        "memory_mb": 3977,
        "machine": "aarch64",
        "system": "Linux",
        "governor": None,
        "versions": {"onnxruntime": "1.31.1"},
    },
    "estimated": False,
    "operators": [
        {
            "precision": "int8",
            "provider": "CPUExecutionProvider",
            "threads": 2,
            "microseconds": {"*": [3.0, 9.0, 100.0, 50.0, 700.0], "Add": [2.0, 0.0, 0.0, 60.0, 0.0]},
            "between_us": -1.5,
            "error_median": 0.04,
            "error_p95": None,
            "shapes": 190,
            "method": "by hand",
            "date": "2026-01-31",
        }
    ],
    "tables": [
        {
            "bundle_hash": "abc123",
            "precision": "int8",
            "provider": "CPUExecutionProvider",
            "threads": 2,
            "lengths": [16, 64],
            "median_ms": {"w100-d100": [4.5, 12.0], "w050-d100": [2.5, 7.25]},
            "p95_ms": {"w100-d100": [5.0, 13.5], "w050-d100": [3.0, 8.0]},
            "runs": 30,
            "method": "batch 1, 5 warm-up calls, subnets in turns",
            "date": "2026-01-31",
        }
    ],
}


def _written(tmp_path: Path, raw: object) -> Path:
    path = tmp_path / "device.json"
    path.write_text(json.dumps(raw))
    return path


def _golden_with(**table: object) -> dict[str, Any]:
    return {**GOLDEN, "tables": [{**TABLE.to_dict(), **table}]}


def test_a_saved_profile_is_the_golden_json(tmp_path: Path) -> None:
    save_profile(tmp_path / "device.json", PROFILE)
    content = (tmp_path / "device.json").read_text()
    assert content == json.dumps({**GOLDEN, "sha256": GOLDEN_SHA256}, indent=1) + "\n"


def test_a_saved_profile_comes_back_the_same(tmp_path: Path) -> None:
    save_profile(tmp_path / "device.json", PROFILE)
    assert load_profile(tmp_path / "device.json") == PROFILE


def test_the_golden_json_is_still_read(tmp_path: Path) -> None:
    assert load_profile(_written(tmp_path, GOLDEN)) == PROFILE


def test_saving_replaces_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = _written(tmp_path, "old")
    save_profile(path, PROFILE)
    assert load_profile(path) == PROFILE
    assert [entry.name for entry in tmp_path.iterdir()] == ["device.json"]


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (
            OSError(28, "No space left on device"),
            ProfileError,
            r"could not be written \(No space left on device\)",
        ),
        (KeyboardInterrupt("stopped"), KeyboardInterrupt, "stopped"),
    ],
    ids=["full disk", "interrupted"],
)
def test_the_old_file_stays_when_writing_fails(
    error: BaseException,
    raised: type[BaseException],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: int) -> None:
        raise error

    path = _written(tmp_path, "old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(raised, match=message):
        save_profile(path, PROFILE)
    assert json.loads(path.read_text()) == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["device.json"]


def test_saving_into_a_missing_directory_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"none/device\.json: could not be written \(No such file"):
        save_profile(tmp_path / "none" / "device.json", PROFILE)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"none\.json: could not be read \(No such file"):
        load_profile(tmp_path / "none.json")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000], ids=["empty", "cut", "bytes", "deep"])
def test_a_file_that_is_not_json_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    path.write_bytes(content)
    with pytest.raises(ProfileError, match=r"device\.json: expected JSON"):
        load_profile(path)


@pytest.mark.parametrize(
    ("version", "hint"),
    [
        (3, "install a newer gearshift"),
        (1, "measure"),
        (0, "measure"),
        ("2", "measure"),
        (True, "measure"),
        (None, "measure"),
    ],
)
def test_another_schema_version_is_refused(version: object, hint: str, tmp_path: Path) -> None:
    path = _written(tmp_path, {**GOLDEN, "schema_version": version})
    with pytest.raises(ProfileError, match=rf"device\.json: expected schema version 2, found {version!r}; {hint}"):
        load_profile(path)


LATENCIES = {"w100-d100": [4.5, 12.0], "w050-d100": [2.5, 7.25]}


@pytest.mark.parametrize("column", ["median_ms", "p95_ms"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (-1.5, "-1.5"),
        ("4.5", "'4.5'"),
        (True, "True"),
        (None, "None"),
        ([1.0], r"\[1.0\]"),
    ],
    ids=["zero", "negative", "text", "boolean", "null", "list"],
)
def test_a_latency_that_is_no_positive_number_is_refused(
    column: str, value: object, shown: str, tmp_path: Path
) -> None:
    path = _written(tmp_path, _golden_with(**{column: {**LATENCIES, "w050-d100": [2.5, value]}}))
    with pytest.raises(ProfileError, match=rf"{column} of w050-d100: expected positive, finite .* found {shown}"):
        load_profile(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400], ids=["nan", "infinite", "huge"])
def test_a_latency_that_no_json_holds_is_refused(value: float, tmp_path: Path) -> None:
    path = _written(tmp_path, _golden_with(median_ms={**LATENCIES, "w050-d100": [2.5, value]}))
    with pytest.raises(ProfileError, match=r"expected JSON \(.*number.*\); measure the device again"):
        load_profile(path)


@pytest.mark.parametrize("values", [[], [4.5], [4.5, 12.0, 20.0]])
@pytest.mark.parametrize("column", ["median_ms", "p95_ms"])
def test_a_wrong_number_of_latencies_is_refused(column: str, values: list[float], tmp_path: Path) -> None:
    path = _written(tmp_path, _golden_with(**{column: {**LATENCIES, "w100-d100": values}}))
    expected = rf"{column} of w100-d100: expected 2 values, one per length, found {len(values)}"
    with pytest.raises(ProfileError, match=expected):
        load_profile(path)


@pytest.mark.parametrize("lengths", [[], [64, 16], [16, 16], [0, 16], [16.5, 64], ["16", 64], [True, 64]], ids=str)
def test_lengths_that_do_not_ascend_are_refused(lengths: list[object], tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="lengths: expected ascending token counts from 1 on, found"):
        load_profile(_written(tmp_path, _golden_with(lengths=lengths)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 0}, "threads: expected a whole number from 1 on, found 0"),
        ({"runs": 2.5}, "runs: expected a whole number from 1 on, found 2.5"),
        ({"precision": 8}, "precision: expected text, found 8"),
        ({"date": "yesterday"}, "date: expected ISO 8601, .* found 'yesterday'"),
        ({"median_ms": {}, "p95_ms": {}}, "median_ms: expected at least one subnet, found none"),
        (
            {"p95_ms": {"w100-d100": [5.0, 13.5]}},
            r"expected the same subnets, found \['w050-d100'\] in one of them",
        ),
        ({"median_ms": [1.0]}, "median_ms: expected a JSON object, found a list"),
        ({"lengths": 16}, "lengths: expected a list, found a int"),
        ({"speed": 1}, r"latency table: expected the fields .*missing or unknown: \['speed'\]"),
    ],
    ids=str,
)
def test_any_other_wrong_field_of_a_table_is_named(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=rf"device\.json: .*{message}"):
        load_profile(_written(tmp_path, _golden_with(**change)))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([], "expected a JSON object, found a list; measure the device again"),
        ({"schema_version": 2}, r"missing or unknown: \['device', 'estimated', 'operators', 'tables'\]"),
        ({**GOLDEN, "estimated": "no"}, "estimated: expected true or false, found 'no'"),
        ({**GOLDEN, "tables": {}}, "tables: expected a list, found a dict"),
        ({**GOLDEN, "tables": [1]}, "latency table: expected a JSON object, found a int"),
        ({**GOLDEN, "device": None}, "device: expected a JSON object, found a NoneType"),
        ({**GOLDEN, "device": {}}, "device: cpu_model is missing"),
        (
            {**GOLDEN, "tables": [TABLE.to_dict()] * 2},
            "tables: expected one for each bundle, .* found two for",
        ),
        ({**GOLDEN, "operators": {}}, "operators: expected a list, found a dict"),
        (
            {**GOLDEN, "operators": [OPERATORS.to_dict()] * 2},
            "operators: expected one for each precision, threads and provider",
        ),
    ],
    ids=[
        "list",
        "fields",
        "estimated",
        "tables",
        "table",
        "no device",
        "empty device",
        "twice",
        "costs",
        "costs twice",
    ],
)
def test_any_other_wrong_form_is_one_line_that_names_the_file(raw: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=rf"device\.json: .*{message}") as caught:
        load_profile(_written(tmp_path, raw))
    assert "\n" not in str(caught.value)


def test_a_table_is_found_by_bundle_precision_threads_and_provider() -> None:
    other = dataclasses.replace(TABLE, provider="CUDAExecutionProvider")
    profile = dataclasses.replace(PROFILE, tables=(TABLE, other))
    assert profile.table_for("abc123", "int8", 2) is TABLE
    assert profile.table_for("abc123", "int8", 2, provider="CUDAExecutionProvider") is other


@pytest.mark.parametrize("key", [("other", "int8", 2), ("abc123", "fp32", 2), ("abc123", "int8", 1)])
def test_a_table_under_other_conditions_is_not_there(key: tuple[str, str, int]) -> None:
    assert PROFILE.table_for(*key) is None


def test_costs_of_operators_are_found_by_precision_threads_and_provider() -> None:
    assert PROFILE.operators_for("int8", 2) is OPERATORS
    assert PROFILE.operators_for("fp32", 2) is None
    assert PROFILE.operators_for("int8", 1) is None
    assert PROFILE.operators_for("int8", 2, provider="CUDAExecutionProvider") is None
