"""A search of a tiny teacher, on one thread, that several tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gearshift.trainer.nasbert.search import Searched, search_blocks
from gearshift.trainer.nasbert.teacher import TeacherEncoder, load_teacher
from tests.trainer.nasbert.tiny import SEARCH, write_text
from tests.trainer.tiny import write_checkpoint


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> TeacherEncoder:
    return load_teacher(write_checkpoint(tmp_path_factory.mktemp("teacher") / "tiny"))


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="session")
def searched(teacher: TeacherEncoder, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """Search that is done. Not to be written to."""
    folder = tmp_path_factory.mktemp("search")
    return search_blocks(teacher, [text], SEARCH, folder / "nas", states=folder / "states")
