"""Fingerprints of machines that are written to disk, and of the one that runs the tests."""

import dataclasses
import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gearshift.device_profiles import Fingerprint, read_fingerprint
from gearshift.errors import ProfileError
from tests.device_profiles import ARM_CPU, CONTAINER, LAPTOP, RASPBERRY_PI, write_tree

DEVICE = Fingerprint(
    cpu_model="Cortex-A72 (Raspberry Pi 4 Model B Rev 1.4)",
    cpu_features=("asimd",),
    cores=4,
    memory_mb=3977,
    machine="aarch64",
    system="Linux",
    governor="ondemand",
    versions={"onnxruntime": "1.31.1"},
)


def test_a_laptop_shows_its_model_features_cores_memory_and_governor(tmp_path: Path) -> None:
    found = read_fingerprint({"onnxruntime": "1.31.1"}, root=write_tree(tmp_path, LAPTOP))
    assert found == Fingerprint(
        cpu_model="Intel(R) Core(TM) i7-1165G7 @ 2.80GHz",
        cpu_features=("avx", "avx2", "avx512_vnni", "avx512f", "fma", "sse4_1"),
        cores=8,
        memory_mb=16384,
        machine="x86_64",
        system=platform.system(),
        governor="schedutil",
        versions={"onnxruntime": "1.31.1"},
    )


def test_a_raspberry_pi_shows_its_core_and_its_board(tmp_path: Path) -> None:
    found = read_fingerprint({}, root=write_tree(tmp_path, RASPBERRY_PI))
    assert found.cpu_model == "Cortex-A72 (Raspberry Pi 4 Model B Rev 1.4)"
    assert (found.machine, found.cores, found.memory_mb) == ("aarch64", 4, 3977)
    assert (found.cpu_features, found.governor) == (("asimd",), "powersave")


def test_the_board_can_also_come_from_the_device_tree(tmp_path: Path) -> None:
    files = {"proc/cpuinfo": ARM_CPU.format(0), "proc/device-tree/model": "Radxa ROCK 4\0"}
    assert read_fingerprint({}, root=write_tree(tmp_path, files)).cpu_model == "Cortex-A72 (Radxa ROCK 4)"


def test_both_kinds_of_core_of_a_big_little_chip_are_named(tmp_path: Path) -> None:
    little, big = ARM_CPU.replace("0xd08", "0xd05"), ARM_CPU.replace("0xd08", "0xd0b")
    files = {"proc/cpuinfo": little.format(0) + little.format(1) + big.format(2)}
    assert read_fingerprint({}, root=write_tree(tmp_path, files)).cpu_model == "Cortex-A55 + Cortex-A76"


@pytest.mark.parametrize(("implementer", "part"), [("0x41", "0xfff"), ("0x61", "0xd08")])
def test_an_unknown_arm_core_keeps_its_numbers(implementer: str, part: str, tmp_path: Path) -> None:
    cpu = ARM_CPU.replace("0x41", implementer).replace("0xd08", part)
    found = read_fingerprint({}, root=write_tree(tmp_path, {"proc/cpuinfo": cpu.format(0)}))
    assert found.cpu_model == f"ARM {implementer}/{part}"


def test_a_bare_machine_falls_back_to_what_the_platform_module_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(platform, "processor", lambda: "Intel64 Family 6")
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    found = read_fingerprint({}, root=tmp_path)
    assert (found.cpu_model, found.machine, found.system) == ("Intel64 Family 6", "x86_64", "Windows")
    assert (found.cpu_features, found.governor) == ((), None)
    assert found.cores >= 1


def test_a_machine_that_tells_nothing_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("machine", "processor", "system"):
        monkeypatch.setattr(platform, name, lambda: "")
    found = read_fingerprint({}, root=tmp_path)
    assert (found.cpu_model, found.machine, found.system) == ("unknown", "unknown", "unknown")


@pytest.mark.parametrize("content", ["", "\0\0", "MemTotal:\n", "MemTotal: many kB\n", "no colon"])
def test_files_that_make_no_sense_raise_nothing(content: str, tmp_path: Path) -> None:
    found = read_fingerprint({}, root=write_tree(tmp_path, dict.fromkeys(LAPTOP, content)))
    assert found.cores >= 1
    assert found.memory_mb is None or found.memory_mb > 0


def test_this_machine_has_a_fingerprint() -> None:
    found = read_fingerprint({})
    assert found.cores >= 1
    assert found.key == read_fingerprint({}).key


def test_the_key_stays_what_it_was() -> None:
    assert DEVICE.key == "97e71cce64b5"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"memory_mb": 1}, True),
        ({"memory_mb": None}, True),
        ({"versions": {}}, True),
        ({"cpu_model": "Cortex-A76"}, False),
        ({"cpu_features": ("asimd", "asimddp")}, False),
        ({"cores": 2}, False),
        ({"machine": "arm"}, False),
        ({"system": "Darwin"}, False),
        ({"governor": "powersave"}, False),
    ],
    ids=str,
)
def test_the_key_follows_what_decides_speed_and_nothing_else(change: dict[str, Any], same: bool) -> None:
    assert (dataclasses.replace(DEVICE, **change).key == DEVICE.key) is same


@pytest.mark.parametrize("files", [LAPTOP, RASPBERRY_PI, CONTAINER, {}], ids=["laptop", "pi", "container", "bare"])
def test_a_fingerprint_comes_back_from_json(files: dict[str, str], tmp_path: Path) -> None:
    found = read_fingerprint({"numpy": "2.0"}, root=write_tree(tmp_path, files))
    assert Fingerprint.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Fingerprint) if field.name != "emulator"])
def test_a_missing_field_is_named(name: str) -> None:
    raw = DEVICE.to_dict()
    del raw[name]
    with pytest.raises(ProfileError, match=f"device: {name} is missing"):
        Fingerprint.from_dict(raw)


@pytest.mark.parametrize(("name", "value"), [("cores", "four"), ("cores", True), ("cpu_features", None), ("system", 1)])
def test_a_field_of_another_type_is_named(name: str, value: object) -> None:
    with pytest.raises(ProfileError, match=f"device: {name}: expected .*, found {re.escape(repr(value))}"):
        Fingerprint.from_dict({**DEVICE.to_dict(), name: value})


def test_device_profiles_import_the_standard_library_alone() -> None:
    command = "import sys, gearshift.device_profiles; print(*{name.partition('.')[0] for name in sys.modules})"
    child = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert not {"numpy", "onnxruntime", "psutil", "tokenizers"} & set(child.stdout.split())
