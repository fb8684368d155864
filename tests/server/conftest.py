"""Engines of every task, and services over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gearshift.runtime import Engine
from gearshift.runtime.bundle.tasks import TEXT_TASKS
from gearshift.server import Service
from tests.export.test_tasks import write_bundle
from tests.trainer.encoders import HEADS, HeadCase

CASES = {
    "multi-label-classification": HeadCase("multi-label-classification", 5),
    "regression": HEADS["regression"],
    "token-classification": HEADS["token classification"],
    "question-answering": HEADS["question answering"],
    "embedding": HEADS["embedding, mean"],
}


@pytest.fixture(scope="session")
def engine(tiny_bundle: Path, profile: Path) -> Iterator[Engine]:
    """Engine of the committed bundle, a classifier."""
    with Engine.load(tiny_bundle, threads=1, precision="fp32", profile=profile, sensors=False) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def engines(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Engine]]:
    """Task -> engine; random models but for the classifier."""
    found = {"classification": engine}
    for task, head in CASES.items():
        path = write_bundle(tmp_path_factory.mktemp(task), "BERT", head).path
        found[task] = Engine.load(path, threads=1, precision="fp32", sensors=False, cache=False)
    assert found.keys() == set(TEXT_TASKS)
    yield found
    for task in CASES:
        found[task].close()


@pytest.fixture
def service(engine: Engine) -> Service:
    return Service(engine)
