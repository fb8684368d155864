"""Fixtures and hooks that tests of several folders use."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for torch and numpy, here and in processes: tests run side by side
os.environ.setdefault("ACCELERATE_MIXED_PRECISION", "no")  # trainings give the same numbers on every kind of CPU

import hypothesis
import pytest

from gearshift.__main__ import main
from tests.command_line import Command, Ended

if TYPE_CHECKING:
    from gearshift.runtime.bundle.bundle import Bundle

hypothesis.settings.register_profile(
    "any machine", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

gc.disable()  # until all tests are collected: of what they import, nothing is garbage


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests first that install packages and run tests of their own: side by side, nothing waits for them."""
    items.sort(key=lambda item: item.get_closest_marker("index") is None)


def pytest_collection_finish() -> None:
    """Let the collector of garbage leave alone what is there by now, some millions of objects of torch and others.

    Every training asks for three whole collections, which took more than a third of its time.
    """
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def tiny_bundle() -> Path:
    """The committed bundle: 4 layers, 12 subnets, fp32 and int8. Not to be written to."""
    return Path(__file__).parent / "data" / "tiny.gearshift"


@pytest.fixture(scope="session")
def bundle(tiny_bundle: Path) -> Bundle:
    from gearshift.runtime.bundle.bundle import open_bundle  # not for tests that do without onnxruntime

    return open_bundle(tiny_bundle)


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may alter."""
    return shutil.copytree(tiny_bundle, tmp_path / "copy.gearshift")


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keeps what engines cache, and profiles of devices, out of the user's own directories."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("cache")
        patch.setenv("GEARSHIFT_CACHE_DIR", str(directory))
        patch.setenv("GEARSHIFT_PROFILE_DIR", str(directory / "profiles"))
        yield directory


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run one command in this process."""

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        try:
            code: Any = main([str(argument) for argument in arguments])
        except SystemExit as ended:  # argparse, on wrong usage and after --help
            code = ended.code
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def profile(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latencies of both precisions on one thread, so that no test measures again."""
    from gearshift.runtime import Engine  # not for tests that do without onnxruntime

    path = tmp_path_factory.mktemp("profile") / "device.json"
    for precision in ("fp32", "int8"):
        with Engine.load(tiny_bundle, threads=1, precision=precision) as engine:
            engine.save_profile(path)
    return path


@pytest.fixture
def answer(command: Command, tiny_bundle: Path, profile: Path) -> Command:
    """`gearshift run` on the tiny bundle with one thread."""
    return lambda *arguments: command("run", tiny_bundle, "--threads", 1, "--profile", profile, *arguments)
