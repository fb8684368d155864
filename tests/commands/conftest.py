"""The tiny bundle with a profile of this device, and a small data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.demo.commands import generate, write
from gearshift.runtime import Bundle, Engine, open_bundle
from tests.command_line import Command


@pytest.fixture(scope="session")
def bundle(tiny_bundle: Path) -> Bundle:
    """The committed bundle, opened."""
    return open_bundle(tiny_bundle)


@pytest.fixture(scope="session")
def profile(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latencies of both precisions on one thread, so that no test measures again."""
    path = tmp_path_factory.mktemp("profile") / "device.json"
    for precision in ("fp32", "int8"):
        with Engine.load(tiny_bundle, threads=1, precision=precision) as engine:
            engine.save_profile(path)
    return path


@pytest.fixture
def answer(command: Command, tiny_bundle: Path, profile: Path) -> Command:
    """`gearshift run` on the tiny bundle with one thread."""
    return lambda *arguments: command("run", tiny_bundle, "--threads", 1, "--profile", profile, *arguments)


@pytest.fixture
def small_data(tmp_path: Path) -> Path:
    """A few rows of the demo as a folder."""
    write(tmp_path / "data", generate(train=60, dev=30, test=30))
    return tmp_path / "data"
