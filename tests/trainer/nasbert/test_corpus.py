"""Pieces of text: how many, whose, and how long."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest

from gearshift.errors import DataError, InputError
from gearshift.trainer.data.tokenizer import load_tokenizer
from gearshift.trainer.nasbert.corpus import read_corpus
from tests.trainer.tiny import make_rows, write_checkpoint

TEXTS = [row.text for row in make_rows(60, longest=40)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("corpus") / "model")


def test_texts_are_taken_whole_in_an_order_of_their_own(model: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(model)
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    with lzma.open(tmp_path / "b.txt.xz", "wt") as file:
        file.write("\n\n".join(reversed(TEXTS)))
    one, other = (
        read_corpus([tmp_path / name], tokenizer, max_length=12, tokens=300, dev_tokens=50)
        for name in ("a.txt", "b.txt.xz")
    )
    assert one.hash == other.hash
    for rows, least in ((one.dev, 50), (one.train, 300)):
        assert least <= sum(map(len, rows.ids)) < least + 60  # a text is not divided
        assert max(map(len, rows.ids)) == 12
    decoded = {tokenizer.decode(ids.tolist()) for ids in one.dev.ids} & {
        tokenizer.decode(i.tolist()) for i in one.train.ids
    }
    assert not decoded


def test_a_long_text_is_cut_into_pieces_of_its_words(model: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(model)
    words = " ".join(["snow ice frost winter sun"] * 5)
    (tmp_path / "a.txt").write_text(f"{words}\nthe day was full of much sun there once again\n")
    corpus = read_corpus([tmp_path / "a.txt"], tokenizer, max_length=12, tokens=999, dev_tokens=12)
    pieces = [ids.tolist() for ids in (*corpus.dev.ids, *corpus.train.ids)]
    assert sorted(map(len, pieces)) == [12, 12, 12]  # a rest of seven tokens is left out
    assert all(ids[0] == tokenizer.token_to_id("[CLS]") and ids[-1] == tokenizer.token_to_id("[SEP]") for ids in pieces)


def test_too_little_text_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the day was full of sun\n")
    with pytest.raises(DataError, match="expected more than 50 tokens"):
        read_corpus([tmp_path / "a.txt"], load_tokenizer(model), max_length=12, tokens=99, dev_tokens=50)
    with pytest.raises(InputError, match="expected at least 10"):
        read_corpus([tmp_path / "a.txt"], load_tokenizer(model), max_length=9, tokens=99, dev_tokens=50)


def test_everything_is_taken_where_there_is_less_than_was_asked_for(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    corpus = read_corpus([tmp_path / "a.txt"], load_tokenizer(model), max_length=30, tokens=10**9, dev_tokens=50)
    assert len(corpus.train) + len(corpus.dev) >= len(set(TEXTS))
    assert corpus.train.labels.shape == (len(corpus.train), 0)  # type: ignore[union-attr]
    assert all(np.all(types == 0) for types in corpus.train.type_ids)
