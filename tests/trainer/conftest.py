"""The tiny checkpoint, and torch on one thread so that results repeat to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.trainer.tiny import write_checkpoint


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoint_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of 4 layers, 4 heads and 64 neurons, in Hugging Face's form. Not to be written to."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")
