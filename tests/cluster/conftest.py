"""Bundles of other tasks than the committed one's, of random models."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def made_tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("tagger"), "token classification")


@pytest.fixture(scope="module")
def made_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("embedder"), "embedding, mean")


def written(folder: Path, head: str) -> Path:
    from tests.export.test_tasks import write_bundle  # Ray's workers do without torch
    from tests.trainer.encoders import HEADS

    return write_bundle(folder, "BERT", HEADS[head]).path
