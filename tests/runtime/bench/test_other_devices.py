"""Side by side: what was measured comes before what is predicted, and that before what is estimated."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gearshift.device_profiles import DeviceProfile, Operator, OperatorCosts, save_profile
from gearshift.device_profiles.latency_table import CPU_PROVIDER, LatencyTable
from gearshift.device_profiles.roofline import boards
from gearshift.errors import ProfileError
from gearshift.runtime.bench.operators.trace import trace
from gearshift.runtime.bench.other_devices import device_rows, find_subjects
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.profiles.store import this_device

COSTS = OperatorCosts("fp32", CPU_PROVIDER, 1, {"*": (1.0, 2.0, 0, 0, 0)}, 0.0, 0.1, 0.2, 9, "by hand", "2026-01-31")


def written(path: Path, bundle: Bundle, *, table: bool, cpu_model: str | None = None) -> Path:
    times: dict[str, tuple[float, ...]] = dict.fromkeys(bundle.pool("fp32"), (3.0, 5.0))
    tables = (
        (LatencyTable(bundle.hash, "fp32", CPU_PROVIDER, 1, (4, 16), times, times, 9, "by hand", "2026-01-31"),)
        if table
        else ()
    )
    device = this_device()
    if cpu_model is not None:
        device = dataclasses.replace(device, cpu_model=cpu_model)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_profile(path, DeviceProfile(device, False, tables, (COSTS,)))
    return path


def operators(bundle: Bundle, name: str, length: int) -> list[Operator]:
    (call,) = trace(bundle, "fp32", [(bundle.entry(name, "fp32").choice, length)], warm_up=False)[0]
    return [one.operator for one in call]


def test_the_best_that_is_known_of_each_device_is_taken(bundle: Bundle, tmp_path: Path) -> None:
    measured = written(tmp_path / "a.json", bundle, table=True)
    predicted = written(tmp_path / "b.json", bundle, table=False)
    subjects = find_subjects([str(measured), str(predicted), "raspberry-pi-5"])
    rows = device_rows(bundle, subjects, "fp32", (4, 16))
    kinds = {row.device.split()[0]: row.kind for row in rows}
    assert kinds == {"a": "measured", "b": "predicted", "Raspberry": "estimated"}
    assert len(rows) == 3 * 12 * 2
    by = {(row.device.split()[0], row.subnet, row.tokens): row for row in rows}
    assert by["a", "w100-d100", 16].low_ms == by["a", "w100-d100", 16].high_ms == 5.0
    work = operators(bundle, "w050-d100", 16)
    assert by["b", "w050-d100", 16].low_ms == pytest.approx(COSTS.predict_ms(work))
    pi = boards()["raspberry-pi-5"]
    estimate = by["Raspberry", "w050-d100", 16]
    assert (estimate.low_ms, estimate.high_ms) == pytest.approx(pi.estimate_ms(work, "fp32"))
    assert estimate.low_ms < estimate.high_ms


def test_what_nobody_knows_of_a_device_has_no_row(bundle: Bundle, tmp_path: Path) -> None:
    subjects = find_subjects([str(written(tmp_path / "a.json", bundle, table=True))])
    assert device_rows(bundle, subjects, "int8", (4,)) == []
    assert device_rows(bundle, subjects, "fp32", (4,), threads=2) == []


def test_all_boards_have_one_name(bundle: Bundle) -> None:
    assert len(find_subjects(["boards"])) == len(boards())


def test_a_board_that_was_calibrated_is_no_longer_estimated(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARSHIFT_PROFILE_DIR", str(tmp_path))
    (before,) = find_subjects(["raspberry-pi-4-b"])
    assert before.board is not None
    written(tmp_path / "123.json", bundle, table=False, cpu_model="Cortex-A72 (Raspberry Pi 4 Model B Rev 1.4)")
    (after,) = find_subjects(["raspberry-pi-4-b"])
    assert after.board is None and after.profile is not None
    assert after.name == "Raspberry Pi 4 B, calibrated"
    assert {row.kind for row in device_rows(bundle, [after], "fp32", (4,))} == {"predicted"}


@pytest.mark.parametrize("content", [None, "{}", '{"schema_version": 99}', "nonsense"])
def test_what_is_no_profile_and_no_board_is_one_line(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "device.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ProfileError, match=r"device\.json") as caught:
        find_subjects([str(path)])
    assert "\n" not in str(caught.value)
