"""Profile files: what an engine takes from one, and what is kept in it."""

from __future__ import annotations

import dataclasses
import logging
import os
from importlib import resources
from pathlib import Path

import pytest

from gearshift.device_profiles.profile import DeviceProfile, LatencyTable, load_profile
from gearshift.device_profiles.profile import save_profile as write_profile
from gearshift.errors import ProfileError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.profiles.own import find_profile, own_path
from gearshift.runtime.profiles.store import (
    own_tables,
    require_writable,
    save_measured,
    save_table,
    tables_for,
    this_device,
)
from tests.device_profiles.test_profile import OPERATORS


def _table(bundle: Bundle, *, precision: str = "fp32", threads: int = 1, largest_ms: float = 8.0) -> LatencyTable:
    times: dict[str, tuple[float, ...]] = dict.fromkeys(bundle.pool(precision), (largest_ms,))
    return LatencyTable(bundle.hash, precision, CPU[0], threads, (16,), times, times, 1, "by hand", "2026-01-31")


def _tables(path: Path, bundle: Bundle, *, threads: int = 1) -> list[LatencyTable]:
    return tables_for(path, bundle, precisions=bundle.precisions, threads=threads, provider=CPU[0])


def test_a_saved_table_is_found_again(bundle: Bundle, tmp_path: Path) -> None:
    save_table(tmp_path / "p.json", _table(bundle))
    assert _tables(tmp_path / "p.json", bundle) == [_table(bundle)]
    assert load_profile(tmp_path / "p.json").device == this_device()


def test_the_fastest_precision_comes_first(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    save_table(path, _table(bundle, precision="fp32", largest_ms=8.0))
    save_table(path, _table(bundle, precision="int8", largest_ms=3.0))
    assert [table.precision for table in _tables(path, bundle)] == ["int8", "fp32"]


def test_other_tables_of_this_device_stay_and_the_same_one_is_replaced(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    save_table(path, _table(bundle, threads=1))
    save_table(path, _table(bundle, threads=2))
    save_table(path, _table(bundle, threads=1, largest_ms=4.0))
    assert load_profile(path).tables == (_table(bundle, threads=2), _table(bundle, largest_ms=4.0))


@pytest.mark.parametrize("difference", ["device", "versions", "estimated"])
def test_figures_of_another_device_are_dropped(bundle: Bundle, tmp_path: Path, difference: str) -> None:
    path, device = tmp_path / "p.json", this_device()
    if difference == "device":
        device = dataclasses.replace(device, cores=device.cores + 1)
    if difference == "versions":
        device = dataclasses.replace(device, versions={"onnxruntime": "0.1"})
    write_profile(path, DeviceProfile(device, difference == "estimated", (_table(bundle, threads=2),)))
    save_table(path, _table(bundle))
    assert load_profile(path).tables == (_table(bundle),)
    assert load_profile(path).device == this_device()


def test_a_profile_without_this_bundle_says_what_it_has_and_what_to_do(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    save_table(path, _table(bundle, threads=4))
    message = (
        r"expected a table of this bundle, fp32 or int8 with 1 threads on CPUExecutionProvider, "
        r"found fp32 with 4 threads on CPUExecutionProvider; "
        r"load the engine without a profile, or run `gearshift bench` on it"
    )
    with pytest.raises(ProfileError, match=message):
        _tables(path, bundle)
    save_table(path, dataclasses.replace(_table(bundle, threads=4), bundle_hash="1" * 64))
    with pytest.raises(ProfileError, match=r"2 threads on CPUExecutionProvider, found fp32 with 4 threads"):
        _tables(path, bundle, threads=2)


def test_a_table_that_lacks_a_subnet_is_not_used(bundle: Bundle, tmp_path: Path) -> None:
    whole = _table(bundle)
    times = {name: row for name, row in whole.median_ms.items() if name != "w025-d050"}
    save_table(tmp_path / "p.json", dataclasses.replace(whole, median_ms=times, p95_ms=times))
    with pytest.raises(ProfileError, match="expected a table of this bundle"):
        _tables(tmp_path / "p.json", bundle)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_file_that_is_no_profile_is_named_in_one_line(bundle: Bundle, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "p.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ProfileError, match=r"p\.json: ") as caught:
        _tables(path, bundle)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_profile_is_not_written_over(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(ProfileError, match=r"notes\.txt"):
        save_table(tmp_path / "notes.txt", _table(bundle))
    assert (tmp_path / "notes.txt").read_text() == "precious"


def _own(bundle: Bundle, directory: Path, monkeypatch: pytest.MonkeyPatch, *, onnxruntime: str = "") -> Path:
    """This device's profile in the user's directory, with tables of both precisions."""
    monkeypatch.setenv("GEARSHIFT_PROFILE_DIR", str(directory))
    device = this_device()
    path = own_path(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    if onnxruntime:
        device = dataclasses.replace(device, versions={**device.versions, "onnxruntime": onnxruntime})
    tables = (_table(bundle), _table(bundle, precision="int8", largest_ms=3.0))
    write_profile(path, DeviceProfile(device, False, tables))
    return path


def _own_tables(bundle: Bundle, *, threads: int = 1) -> list[LatencyTable] | None:
    return own_tables(bundle, precisions=bundle.precisions, threads=threads, provider=CPU[0])


def test_the_profile_of_this_device_is_found_by_its_fingerprint(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _own(bundle, tmp_path, monkeypatch)
    assert path.name == f"{this_device().key}.json"
    found = find_profile(this_device())
    assert found is not None and (found.path, found.stale) == (path, None)
    tables = _own_tables(bundle)
    assert tables is not None and [table.precision for table in tables] == ["int8", "fp32"]
    assert _own_tables(bundle, threads=3) is None


def test_another_device_finds_nothing(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _own(bundle, tmp_path, monkeypatch)
    assert find_profile(dataclasses.replace(this_device(), cores=999)) is None


def test_a_profile_of_this_device_is_found_under_any_name(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = dataclasses.replace(this_device(), cpu_model="of none that ships")
    monkeypatch.setenv("GEARSHIFT_PROFILE_DIR", str(tmp_path))
    mine = tmp_path / "mine.json"
    write_profile(mine, DeviceProfile(device, False, (_table(bundle),)))
    found = find_profile(device)
    assert found is not None and (found.path, found.stale) == (mine, None)


def test_a_profile_under_another_governor_is_stale(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _own(bundle, tmp_path, monkeypatch)
    found = find_profile(dataclasses.replace(this_device(), governor="powersave"))
    assert found is not None
    assert (found.path, found.stale) == (path, f"governor {this_device().governor} then, powersave now")


def test_a_profile_that_shipped_is_found_where_the_user_has_none(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARSHIFT_PROFILE_DIR", str(tmp_path / "none"))
    for path in Path(str(resources.files("gearshift.device_profiles"))).glob("*-????????????.json"):
        shipped = load_profile(path)
        assert path.stem.endswith(shipped.device.key), "a profile that ships is found by the end of its name"
        found = find_profile(shipped.device)
        assert found is not None and found.path == path


def test_a_stale_profile_is_not_used_and_says_what_to_run(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _own(bundle, tmp_path, monkeypatch, onnxruntime="1.0")
    with caplog.at_level(logging.WARNING):
        assert _own_tables(bundle) is None
    (record,) = caplog.records
    assert "is stale (onnxruntime 1.0 then, " in record.getMessage()
    assert record.getMessage().endswith(f"run `gearshift bench {bundle.path}`")


def test_a_broken_profile_of_this_device_is_a_warning_and_counts_as_none(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _own(bundle, tmp_path, monkeypatch).write_text('{"schema_version": 1}')
    with caplog.at_level(logging.WARNING):
        assert _own_tables(bundle) is None
    assert "expected schema version 2, found 1; measure the device again" in caplog.text


def test_costs_of_operators_are_kept_beside_tables_and_replaced_by_newer_ones(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    save_measured(path, tables=[_table(bundle)], operators=[OPERATORS])
    newer = dataclasses.replace(OPERATORS, shapes=3)
    save_measured(path, operators=[newer])
    assert load_profile(path).operators == (newer,)
    assert load_profile(path).tables == (_table(bundle),)


def test_where_nothing_can_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for path in (tmp_path / "file" / "p.json", tmp_path / "file"):
        with pytest.raises(ProfileError, match=r"; (or )?name another file with -o"):
            require_writable(path)
    assert (tmp_path / "file").read_text() == "precious"
    require_writable(tmp_path / "new" / "p.json")


def test_a_profile_is_neither_saved_to_nor_measured_for_a_pipe(tmp_path: Path) -> None:
    """It would be read first, and that never ends."""
    os.mkfifo(tmp_path / "pipe")
    refused = pytest.raises(ProfileError, match="pipe: expected a file, found a device or a pipe")
    with refused:
        save_measured(tmp_path / "pipe")
    with refused:
        require_writable(tmp_path / "pipe")
