"""The doctor on machines that are written to disk, with packages that are there, old, broken or missing."""

import dataclasses
import json
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gearshift.device_profiles import DeviceProfile, save_profile
from gearshift.extras import requirements
from gearshift.runtime.doctor import examine as examined
from gearshift.runtime.doctor.examine import MINIMUM_PYTHON, WARNED, Report, examine, exit_code
from gearshift.runtime.doctor.signals import Finding
from gearshift.runtime.sensors.sensors import Sensors
from tests.device_profiles import CONTAINER, DRIVER, GOVERNOR, LAPTOP, RASPBERRY_PI, write_tree
from tests.runtime.sensors.test_power import battery
from tests.runtime.sensors.test_sensors import Machine
from tests.runtime.sensors.test_thermal import FLAGS, policy, zone

PACKAGES: dict[str, Any] = {
    "numpy": SimpleNamespace(__version__="2.0.1"),
    "onnxruntime": SimpleNamespace(
        __version__="1.31.1",
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    ),
    "psutil": SimpleNamespace(__version__="7.0.0"),
    "tokenizers": SimpleNamespace(__version__="0.22.1"),
}

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
MINIMUMS = dict(line.split(">=") for line in PROJECT["dependencies"])


def _load(packages: Mapping[str, Any]) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        if name not in packages:
            raise ModuleNotFoundError(f"No module named {name!r}")
        if isinstance(packages[name], Exception):
            raise packages[name]
        return packages[name]

    return load


def _examine(
    root: Path,
    *,
    packages: Mapping[str, Any] = PACKAGES,
    machine: Any = None,
    busy: float = 0.0,
    cpus: int = 4,
) -> Report:
    machine = machine or Machine()
    allowed = set(range(cpus))
    return examine(
        root=root,
        load=_load(packages),
        sensors=Sensors(clock=machine.clock, root=root, source=machine, cpus=lambda: allowed),
        cpus=allowed,
        sleep=lambda seconds: machine.run(seconds, busy={0: busy}),
    )


def _found(report: Report, subject: str) -> Finding:
    return next(finding for finding in report.findings if finding.subject == subject)


def test_a_good_laptop_has_nothing_to_complain_about(tmp_path: Path) -> None:
    report = _examine(write_tree(tmp_path, LAPTOP), cpus=8, machine=Machine(cpus=8), busy=0.5)
    assert [finding.subject for finding in report.findings if finding.level != "ok"] == ["profile"]
    assert exit_code(report) == 0
    assert _found(report, "providers").text == "CUDAExecutionProvider, CPUExecutionProvider"
    assert _found(report, "cpus").text == "8 of 8 can be used"
    assert _found(report, "others' cpu").text.startswith("25%")
    assert _found(report, "cpu pressure").text == "2%"
    assert report.device.versions["onnxruntime"] == "1.31.1"


def test_a_raspberry_pi_4_is_told_about_its_governor_and_int8(tmp_path: Path) -> None:
    report = _examine(write_tree(tmp_path, RASPBERRY_PI))
    assert _found(report, "cpu").text == "Cortex-A72 (Raspberry Pi 4 Model B Rev 1.4), aarch64: asimd"
    assert _found(report, "governor").level == "warning"
    assert "no dot-product instructions" in _found(report, "int8").text
    assert _found(report, "cpu pressure").text == "sensor not found"
    assert exit_code(report) == WARNED


def test_a_container_is_told_what_its_quota_leaves(tmp_path: Path) -> None:
    report = _examine(write_tree(tmp_path, CONTAINER))
    assert report.effective_cpus == 1.5
    assert _found(report, "cpus") == Finding(
        "note", "cpus", "1.5 of 8 can be used; affinity allows 4; cgroup quota allows 1.5"
    )
    assert _found(report, "memory limit").text == "512 MB for this cgroup"
    assert _found(report, "memory").level == "warning"
    assert _found(report, "memory").text == "162 MB available"


def test_a_quota_below_one_cpu_is_a_warning(tmp_path: Path) -> None:
    report = _examine(write_tree(tmp_path, {**CONTAINER, "sys/fs/cgroup/cpu.max": "50000 100000"}))
    assert _found(report, "cpus").level == "warning"


def test_a_bare_machine_loses_signals_and_no_more(tmp_path: Path) -> None:
    machine = SimpleNamespace(clock=Machine().clock, run=lambda seconds, busy: None)  # no psutil functions at all
    report = _examine(tmp_path, machine=machine)
    assert exit_code(report) == 0
    for subject in ("others' cpu", "cpu pressure", "memory"):
        assert _found(report, subject).level == "note"
        assert _found(report, subject).text == "sensor not found"
    assert _found(report, "int8").text == "whether this CPU has int8 instructions could not be read"


@pytest.mark.parametrize(
    ("features", "level"),
    [
        ("lm sse4_1 avx2", "note"),
        ("lm avx2 avx512f", "note"),
        ("lm avx2 avx512f avx512_vnni", "ok"),
        ("lm avx2 avx_vnni", "ok"),
        ("lm avx2 amx_int8", "ok"),
    ],
)
def test_x86_without_vnni_is_told_that_int8_can_saturate(features: str, level: str, tmp_path: Path) -> None:
    cpuinfo = f"processor\t: 0\nmodel name\t: Some CPU\nflags\t: {features}\n"
    finding = _found(_examine(write_tree(tmp_path, {"proc/cpuinfo": cpuinfo})), "int8")
    assert finding.level == level
    assert ("saturate" in finding.text) is (level == "note")


def test_arm_with_dot_products_is_fine_for_int8(tmp_path: Path) -> None:
    cpuinfo = RASPBERRY_PI["proc/cpuinfo"].replace("cpuid", "cpuid asimddp")
    assert _found(_examine(write_tree(tmp_path, {"proc/cpuinfo": cpuinfo})), "int8").level == "ok"


@pytest.mark.parametrize(
    ("governor", "driver", "level"),
    [
        ("powersave", "acpi-cpufreq", "warning"),
        ("powersave", "intel_pstate", "ok"),
        ("powersave", "amd-pstate-epp", "ok"),
        ("performance", "acpi-cpufreq", "ok"),
        ("schedutil", "cpufreq-dt", "ok"),
    ],
)
def test_powersave_is_a_warning_where_it_holds_the_frequency_down(
    governor: str, driver: str, level: str, tmp_path: Path
) -> None:
    report = _examine(write_tree(tmp_path, {**LAPTOP, GOVERNOR: governor + "\n", DRIVER: driver + "\n"}))
    assert _found(report, "governor").level == level


@pytest.mark.parametrize("name", sorted(MINIMUMS))
@pytest.mark.parametrize(
    ("package", "text"),
    [
        (None, "not installed; expected {} or newer"),
        (SimpleNamespace(__version__="0.1"), "0.1; expected {} or newer"),
        (OSError("libc.so.6: version\nnot found"), "does not import (OSError: libc.so.6: version not found)"),
    ],
    ids=["missing", "old", "broken"],
)
def test_a_package_that_does_not_do_is_an_error_with_the_command_that_mends_it(
    name: str, package: Any, text: str, tmp_path: Path
) -> None:
    packages = {key: value for key, value in PACKAGES.items() if key != name}
    if package is not None:
        packages[name] = package
        if name == "onnxruntime" and not isinstance(package, Exception):
            package.get_available_providers = lambda: ["CPUExecutionProvider"]
    report = _examine(write_tree(tmp_path, LAPTOP), packages=packages)
    finding = _found(report, name)
    assert finding.text == text.format(MINIMUMS[name])
    assert finding.advice.startswith(f'pip install "{name}>={MINIMUMS[name]}"')
    optional = name == "psutil"  # without it the sensors are unknown, and bundles still run
    assert finding.level == ("warning" if optional else "error")
    assert exit_code(report) == (WARNED if optional else 1)
    assert "\n" not in (report.problem or "")


@pytest.mark.parametrize("version", ["1.31.1", "1.100.0", "2.0.0rc1", "1.23", "nightly"])
def test_newer_and_unreadable_versions_pass(version: str, tmp_path: Path) -> None:
    new = SimpleNamespace(__version__=version, get_available_providers=lambda: ["CPUExecutionProvider"])
    report = _examine(write_tree(tmp_path, LAPTOP), packages={**PACKAGES, "onnxruntime": new})
    assert _found(report, "onnxruntime") == Finding("ok", "onnxruntime", version)


def test_an_onnxruntime_that_lists_no_providers_is_an_error(tmp_path: Path) -> None:
    hollow = SimpleNamespace(__version__="1.31.1")  # what a folder of that name, or half an uninstall, gives
    report = _examine(write_tree(tmp_path, LAPTOP), packages={**PACKAGES, "onnxruntime": hollow})
    assert _found(report, "providers").level == "error"
    assert exit_code(report) == 1


def test_high_pressure_is_noted(tmp_path: Path) -> None:
    report = _examine(write_tree(tmp_path, {**LAPTOP, "proc/pressure/cpu": "some avg10=42.00 total=1\n"}))
    assert _found(report, "cpu pressure").level == "note"
    assert _found(report, "cpu pressure").text == "42%: processes wait for CPUs"


def test_every_package_that_gearshift_needs_is_looked_at(tmp_path: Path) -> None:
    assert set(examined.PACKAGES) == set(MINIMUMS) == set(requirements())
    assert PROJECT["requires-python"] == f">={'.'.join(map(str, MINIMUM_PYTHON))}"


@pytest.mark.parametrize(
    ("package", "finding"),
    [
        (None, Finding("error", "numpy", "not installed", "pip install numpy")),
        (SimpleNamespace(__version__="0.1"), Finding("ok", "numpy", "0.1")),
    ],
)
def test_without_metadata_no_version_is_expected(
    package: Any, finding: Finding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = {key: value for key, value in PACKAGES.items() if key != "numpy"}
    if package is not None:
        packages["numpy"] = package
    write_tree(tmp_path, LAPTOP)
    monkeypatch.setattr(sys, "path", [])  # as from copied files: not installed, and no checkout around them
    monkeypatch.setattr("gearshift.extras._source_requirements", list)
    assert _found(_examine(tmp_path, packages=packages), "numpy") == finding


def test_a_report_is_plain_json(tmp_path: Path) -> None:
    report = _examine(write_tree(tmp_path, CONTAINER))
    raw = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert raw["ok"] is True
    assert raw["effective_cpus"] == 1.5
    assert raw["device"]["key"] == report.device.key
    assert {tuple(sorted(finding)) for finding in raw["findings"]} == {("advice", "level", "subject", "text")}


def test_every_finding_has_its_line_and_its_advice_another(tmp_path: Path) -> None:
    report = _examine(write_tree(tmp_path, RASPBERRY_PI))
    lines = report.lines()
    advised = [finding for finding in report.findings if finding.advice]
    assert len(lines) == len(report.findings) + len(advised)
    assert sum("-> " in line for line in lines) == len(advised)
    assert any(line.startswith("warning  governor") for line in lines)


def test_this_machine_can_be_examined() -> None:
    report = examine(sleep=lambda seconds: None)
    assert exit_code(report) == 0
    assert _found(report, "onnxruntime").level == "ok"
    assert "CPUExecutionProvider" in _found(report, "providers").text


def test_a_user_without_a_home_is_told_how_to_have_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("GEARSHIFT_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    report = _examine(write_tree(tmp_path, LAPTOP))
    assert "set GEARSHIFT_CACHE_DIR" in _found(report, "packed weights").text
    assert exit_code(report) == 0


def test_a_device_with_every_sensor_shows_each(tmp_path: Path) -> None:
    files = {
        **LAPTOP,
        **zone(0, "cpu-thermal", 51000, passive=75),
        **policy(0, 600, 1500),
        **battery(capacity=80, status="Discharging", power_now=4_000_000),
        FLAGS: "0",
        "proc/pressure/memory": "some avg10=1.00 total=1\n",
    }
    report = _examine(write_tree(tmp_path, files))
    assert _found(report, "temperature") == Finding("ok", "temperature", "51 C; the device slows down from 75 C")
    assert _found(report, "clock").text == "40% of the highest, low also when idle"
    assert _found(report, "throttling").text == "none now"
    assert _found(report, "battery").text == "80%, on battery"
    assert _found(report, "energy").text == "counted in joules by fuel_gauge"
    assert _found(report, "memory pressure").text == "1%"
    assert _found(report, "not here").text == "quota stalls"


def test_a_hot_device_that_is_held_down_is_warned_about(tmp_path: Path) -> None:
    files = {
        **CONTAINER,
        **zone(0, "cpu-thermal", 76000, passive=75),
        FLAGS: "4",
        "proc/pressure/memory": "some avg10=50.00 total=1\n",
        "sys/fs/cgroup/cpu.stat": "nr_periods 0\nnr_throttled 0\n",
    }
    machine = Machine()
    root = write_tree(tmp_path, files)
    allowed = set(range(4))

    def pass_time(seconds: float) -> None:
        write_tree(root, {"sys/fs/cgroup/cpu.stat": "nr_periods 4\nnr_throttled 2\n"})

    report = examine(
        root=root,
        load=_load(PACKAGES),
        sensors=Sensors(clock=machine.clock, root=root, source=machine, cpus=lambda: allowed),
        cpus=allowed,
        sleep=pass_time,
    )
    for subject in ("temperature", "throttling", "memory pressure", "quota stalls"):
        assert _found(report, subject).level == "warning"
    assert _found(report, "quota stalls").text == "50% of the periods of the CPU quota ran out"


def test_a_device_that_was_never_measured_is_told_what_measures_it(tmp_path: Path) -> None:
    report = _examine(write_tree(tmp_path, LAPTOP))
    finding = _found(report, "profile")
    assert (finding.level, finding.advice) == ("note", "gearshift bench BUNDLE")
    assert report.device.key in finding.text


@pytest.mark.parametrize(("version", "level", "code"), [("1.31.1", "ok", 0), ("1.20.0", "warning", WARNED)])
def test_a_profile_is_found_and_stale_with_another_onnxruntime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, level: str, code: int
) -> None:
    monkeypatch.setenv("GEARSHIFT_PROFILE_DIR", str(tmp_path / "profiles"))
    root = write_tree(tmp_path / "root", LAPTOP)
    device = _examine(root, cpus=8, machine=Machine(cpus=8)).device
    path = tmp_path / "profiles" / f"{device.key}.json"
    path.parent.mkdir()
    save_profile(path, DeviceProfile(dataclasses.replace(device, versions={"onnxruntime": version}), False, ()))
    report = _examine(root, cpus=8, machine=Machine(cpus=8))
    finding = _found(report, "profile")
    assert finding.level == level
    assert str(path) in finding.text
    assert ("stale: onnxruntime 1.20.0 then, 1.31.1 now" in finding.text) is (level == "warning")
    assert exit_code(report) == code


def test_an_emulated_cpu_is_said(tmp_path: Path) -> None:
    tree = {**LAPTOP, "proc/cpuinfo": "processor\t: 0\nmodel name\t: QEMU TCG CPU version 2.5+\nflags\t: lm\n"}
    report = _examine(write_tree(tmp_path, tree), cpus=1)
    assert _found(report, "emulated").text == "this CPU is emulated by qemu: times measured here mean nothing"
