"""Ids in training, in a run and on the device are those that transformers gives for the same folder."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer

from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import INPUTS, TOKENIZER
from gearshift.runtime.inference.text import TextEncoder
from gearshift.trainer.data.batches import EncodedRows, encode
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.tokenizer import load_tokenizer, save_tokenizer
from tests.trainer.tokenizer_folders import FOLDERS, MAX_LENGTH, TEXTS, Pair

TINY = Path(__file__).parents[1] / "data" / "tiny.gearshift"


@dataclasses.dataclass(frozen=True)
class Case:
    """A tokenizer folder, as transformers and as we load it."""

    source: Path
    theirs: Any
    tokenizer: Tokenizer


@pytest.fixture(scope="module", params=FOLDERS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    source = FOLDERS[request.param].make(tmp_path_factory.mktemp("tokenizer") / "source")
    theirs = transformers.AutoTokenizer.from_pretrained(source, local_files_only=True, use_fast=True)
    assert theirs.is_fast
    return Case(source, theirs, load_tokenizer(source))


def wanted(tokenizer: Any, text: str | Pair) -> tuple[list[int], list[int]]:
    """Return the ids and token types of a text, as transformers gives them."""
    parts = (text,) if isinstance(text, str) else text
    found = tokenizer(*parts, truncation=True, max_length=MAX_LENGTH, return_token_type_ids=True)
    return found["input_ids"], found["token_type_ids"]


def rows_of(tokenizer: Tokenizer) -> EncodedRows:
    rows = [Row(text, None, "a") if isinstance(text, str) else Row(*text, "a") for text in TEXTS]
    return encode(rows, ("a",), tokenizer, max_length=MAX_LENGTH)


def in_training(tokenizer: Tokenizer) -> Iterator[tuple[list[int], list[int]]]:
    rows = rows_of(tokenizer)
    for ids, types in zip(rows.ids, rows.type_ids, strict=True):
        yield ids.tolist(), types.tolist()


def on_the_device(tokenizer: Tokenizer, folder: Path) -> Iterator[tuple[list[int], list[int]]]:
    """Give ids and types of each text by a bundle with the tokenizer as an export writes it."""
    folder.mkdir()
    (folder / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
    rows, tiny = rows_of(tokenizer), open_bundle(TINY).manifest
    large = dataclasses.replace(tiny.space.shape, vocabulary=1000)
    manifest = dataclasses.replace(
        tiny,
        max_length=MAX_LENGTH,
        pad_id=rows.pad_id,
        inputs=INPUTS,
        space=dataclasses.replace(tiny.space, shape=large),
    )
    encoder = TextEncoder(Bundle(folder, manifest, hash=""))
    for text in TEXTS:
        (call,) = encoder.encode([text]).calls
        yield call.inputs["input_ids"][0].tolist(), call.inputs["token_type_ids"][0].tolist()


def test_a_text_has_the_ids_of_transformers_in_training(case: Case) -> None:
    assert list(in_training(case.tokenizer)) == [wanted(case.theirs, text) for text in TEXTS]


def test_a_text_has_the_ids_of_transformers_on_the_device(case: Case, tmp_path: Path) -> None:
    assert list(on_the_device(case.tokenizer, tmp_path / "bundle")) == [wanted(case.theirs, text) for text in TEXTS]


def test_the_padding_is_that_of_transformers(case: Case) -> None:
    assert rows_of(case.tokenizer).pad_id == case.theirs.pad_token_id


def test_a_run_gives_the_same_ids_when_it_is_loaded_again(case: Case, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(case.source / "config.json", run)
    save_tokenizer(case, run)
    theirs = transformers.AutoTokenizer.from_pretrained(run, local_files_only=True, use_fast=True)
    assert [wanted(theirs, text) for text in TEXTS] == [wanted(case.theirs, text) for text in TEXTS]
    ours = load_tokenizer(run)
    assert ours.to_str() == case.tokenizer.to_str()
    assert theirs.pad_token_id == case.theirs.pad_token_id
    assert theirs.model_max_length == case.theirs.model_max_length
