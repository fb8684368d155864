"""Tests of what is shipped, and of the runtime alone in a clean virtual environment. Needs the Python package index."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command_line import PATIENCE_S

pytestmark = pytest.mark.index

ROOT = Path(__file__).parents[1]
FOLDERS = ("runtime", "trainer", "export", "device_profiles")
SHIPPED = ("README.md", "LICENSE", "pyproject.toml", "MANIFEST.in", "src", *FOLDERS)
"""Files and folders that a build reads; copied, so that it leaves nothing behind in the checkout."""

PROFILE = "made_up.json"
"""A device profile that is put there for the build: whether profiles are shipped must not depend on having one."""

TEXT = "turn the lights off"


def run(*command: object, cwd: Path, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """A command in an environment that knows nothing of this checkout."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    call = [str(part) for part in command]
    return subprocess.run(
        call, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def succeed(*command: object, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@dataclass(frozen=True)
class Distributions:
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The sdist, and the wheel that is built from it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=leave)
        else:
            shutil.copy(ROOT / name, source)
    (source / "tests").mkdir()
    (source / "tests" / "test_nothing.py").write_text("")
    (source / "device_profiles" / PROFILE).write_text("{}")
    succeed(
        sys.executable, "-m", "build", "--outdir", out, source, cwd=out
    )  # without options: sdist, then wheel from it
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return Distributions(sdist, wheel)


@dataclass(frozen=True)
class Device:
    """A virtual environment with the wheel and no extra."""

    python: Path
    place: Path
    """A folder outside the checkout, with nothing in it but the tests that a device can run."""

    @property
    def gearshift(self) -> Path:
        return self.python.with_name("gearshift")


@pytest.fixture(scope="module")
def device(built: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Device:
    place = tmp_path_factory.mktemp("device")
    succeed(sys.executable, "-m", "venv", place / "venv", cwd=place)
    python = place / "venv" / "bin" / "python"
    succeed(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", built.wheel, cwd=place)
    return Device(python, place)


def expected_files() -> dict[str, bytes]:
    """Path in the package -> content, of every file that must be shipped."""
    top = ROOT / "src" / "gearshift"
    own = (*top.rglob("*.py"), top / "py.typed")  # the four folders are links, which are not followed
    files = {f"gearshift/{path.relative_to(top).as_posix()}": path.read_bytes() for path in own}
    for folder in FOLDERS:
        for path in (path for kind in ("py", "json", "onnx") for path in (ROOT / folder).rglob(f"*.{kind}")):
            files[f"gearshift/{path.relative_to(ROOT).as_posix()}"] = path.read_bytes()
    return {**files, f"gearshift/device_profiles/{PROFILE}": b"{}"}


def test_the_wheel_that_is_built_from_the_sdist_holds_the_package_and_nothing_else(built: Distributions) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
        modes = {entry.filename: entry.external_attr >> 28 for entry in archive.infolist()}
    assert found == expected_files()
    assert set(modes.values()) <= {0o10, 0}  # regular files: a link is 0o12


def test_the_sdist_holds_files_instead_of_links_and_no_tests(built: Distributions) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    assert [member.name for member in members if not (member.isfile() or member.isdir())] == []
    names = {member.name.partition("/")[2] for member in members if member.isfile()}
    assert {f"src/{name}" for name in expected_files()} <= names
    assert {"README.md", "LICENSE", "pyproject.toml"} <= names
    assert {name.split("/")[0] for name in names if "/" in name} == {"src"}


def test_the_wheel_says_what_a_device_needs_and_what_is_extra(built: Distributions) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        lines = archive.read(name).decode().splitlines()
    needed = {
        line.split()[1].split(">")[0] for line in lines if line.startswith("Requires-Dist:") and "extra" not in line
    }
    assert needed == {"numpy", "onnxruntime", "psutil", "tokenizers"}
    extras = {line.split()[1] for line in lines if line.startswith("Provides-Extra:")}
    assert extras == {
        "train",
        "export",
        "plot",
        "tensorboard",
        "hub",
        "images",
        "sign",
        "serve",
        "ray",
        "bench",
        "all",
        "dev",
    }


def test_a_device_gets_none_of_the_packages_that_make_models(device: Device) -> None:
    installed = json.loads(succeed(device.python, "-m", "pip", "list", "--format", "json", cwd=device.place))
    names = {package["name"].lower() for package in installed}
    assert {"gearshift", "onnxruntime"} <= names
    assert not names & {"torch", "transformers", "onnx", "optimum", "optimum-onnx", "matplotlib"}


def test_a_device_answers_with_nothing_but_the_wheel(device: Device, tiny_bundle: Path) -> None:
    line = succeed(device.gearshift, "run", tiny_bundle, TEXT, cwd=device.place)
    assert line.count("\n") == 1
    assert " ms  no_deadline" in line
    place = succeed(device.python, "-c", "import gearshift.runtime as r; print(r.__file__)", cwd=device.place)
    assert Path(place.strip()).is_relative_to(device.place)
    assert json.loads(succeed(device.gearshift, "verify", tiny_bundle, "--json", cwd=device.place))["verified"]
    assert json.loads(run(device.gearshift, "doctor", "--json", cwd=device.place).stdout)["ok"]


def test_a_device_is_measured_with_nothing_but_the_wheel(device: Device, tiny_bundle: Path) -> None:
    given = ("--budget", "8s", "--lengths", "8", "--threads", "1", "--compare", "boards", "--json")
    written = ("-o", "p.json", "--report", "r.html", "--plot", "p.svg")
    found = json.loads(succeed(device.gearshift, "bench", tiny_bundle, *written, *given, cwd=device.place))
    assert {costs["precision"] for costs in found["operators"]} <= {"fp32", "int8"}
    assert {row["kind"] for row in found["compare"]} == {"estimated"}
    assert "How far to trust it" in (device.place / "r.html").read_text()
    assert (device.place / "p.svg").read_text().startswith("<svg")
    picture = run(device.gearshift, "plot", "log.jsonl", "-o", "p.png", cwd=device.place)
    assert picture.stderr == (
        "gearshift: this needs matplotlib, which is not installed; run: pip install 'gearshift[plot]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(["train", "--data", "x", "-o", "y"], "train"), (["export", "x", "-o", "y"], "export")],
)
def test_what_makes_models_says_in_one_line_which_extra_it_needs(
    device: Device, arguments: list[str], extra: str
) -> None:
    done = run(device.gearshift, *arguments, cwd=device.place)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("gearshift: this needs ")
    assert done.stderr.endswith(f"which is not installed; run: pip install 'gearshift[{extra}]'\n")
    assert done.stderr.count("\n") == 1


def test_the_tests_of_runtime_and_device_profiles_pass_on_a_device(device: Device) -> None:
    tools = ("pytest", "hypothesis", "prometheus_client", "safetensors")
    succeed(device.python, "-m", "pip", "install", "--quiet", *tools, cwd=device.place)
    tests = device.place / "tests"
    tests.mkdir()
    for name in ("__init__.py", "conftest.py", "command_line.py"):
        shutil.copy(ROOT / "tests" / name, tests)
    for name in ("data", "runtime", "device_profiles"):
        shutil.copytree(ROOT / "tests" / name, tests / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", device.place)
    told = succeed(device.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, cwd=device.place)
    assert " passed" in told
    assert "skipped" not in told
