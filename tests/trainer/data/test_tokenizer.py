"""Tokenizers that do not go with their model, and what a checkpoint says of its tokenizer."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer

from gearshift.errors import InputError, ModelError
from gearshift.trainer.data.augment import near_words
from gearshift.trainer.data.batches import encode
from gearshift.trainer.data.rows import Row, Span
from gearshift.trainer.data.targets import IGNORED
from gearshift.trainer.data.tokenizer import load_tokenizer, save_tokenizer
from gearshift.trainer.dynabert.supernet import Supernet
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.run import load_supernet, save_run
from tests.trainer.tiny import LABELS, SETTINGS, make_data, make_rows
from tests.trainer.tokenizer_folders import FOLDERS


@pytest.fixture
def copied(checkpoint_path: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint that a test may alter."""
    return shutil.copytree(checkpoint_path, tmp_path / "copied")


def add_tokens(path: Path, tokens: list[str], *, resize: bool) -> None:
    """Add tokens to a checkpoint, as its owner does with transformers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens(tokens)
    tokenizer.save_pretrained(path)
    if resize:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(path)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.save_pretrained(path)


def set_config(path: Path, **fields: Any) -> None:
    """Set fields of tokenizer_config.json."""
    raw = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps({**raw, **fields}))


def test_tokens_added_without_resizing_are_refused_with_ids_and_remedy(copied: Path) -> None:
    rows = load_checkpoint(copied, LABELS).model.shape.vocabulary
    add_tokens(copied, ["<URL>", "<USER>"], resize=False)
    wanted = (
        rf"copied: expected tokens for the {rows} rows of the model's word table, found "
        rf"'<URL>' \({rows}\), '<USER>' \({rows + 1}\) beyond; call model\.resize_token_embeddings\(len\(tokenizer\)\)"
    )
    with pytest.raises(ModelError, match=wanted) as raised:
        load_checkpoint(copied, LABELS)
    assert "\n" not in str(raised.value)


def test_of_many_added_tokens_some_are_named(copied: Path) -> None:
    add_tokens(copied, [f"<{number}>" for number in range(9)], resize=False)
    with pytest.raises(ModelError, match=r"'<4>' \(\d+\) and 4 more beyond"):
        load_checkpoint(copied, LABELS)


def test_a_pad_token_that_the_vocabulary_lacks_is_refused_by_its_name(copied: Path) -> None:
    set_config(copied, pad_token="<blank>")
    with pytest.raises(ModelError, match=r"found '<blank>' \(\d+\) beyond"):
        load_checkpoint(copied, LABELS)


def test_training_on_a_model_with_added_tokens_is_refused_before_it_begins(copied: Path, tmp_path: Path) -> None:
    add_tokens(copied, ["<URL>"], resize=False)
    with pytest.raises(ModelError, match="found '<URL>'"):
        train_supernet(copied, make_data(), SETTINGS, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tokens_added_and_resized_are_rows_like_others(copied: Path) -> None:
    add_tokens(copied, ["<URL>"], resize=True)
    checkpoint = load_checkpoint(copied, LABELS)
    rows = encode([Row("snow <URL>", None, "cold")], LABELS, checkpoint.tokenizer, max_length=8)
    assert checkpoint.model.shape.vocabulary - 1 in rows.ids[0]
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(copied).eval()
    batch = next(rows.batches(1))
    with torch.no_grad():
        expected = theirs(batch.input_ids, batch.attention_mask, batch.token_type_ids).logits
        found = checkpoint.model.eval()(batch, checkpoint.model.full).logits
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_word_table_with_rows_to_spare_is_taken(copied: Path) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(copied)
    rows = model.config.vocab_size
    model.resize_token_embeddings(rows + 28, mean_resizing=False)
    model.save_pretrained(copied)
    assert load_checkpoint(copied, LABELS).model.shape.vocabulary == rows + 28


def test_a_run_whose_tokenizer_got_tokens_is_refused_too(copied: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(copied, LABELS)
    full = {"w100-d100": checkpoint.model.full}
    save_run(tmp_path / "run", checkpoint, subnets=full, accuracies={}, facts={"max_length": 16, "data": None})
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run")
    tokenizer.add_tokens(["<URL>"])
    tokenizer.save_pretrained(tmp_path / "run")
    with pytest.raises(ModelError, match=r"run: expected tokens for the .* found '<URL>'"):
        load_supernet(tmp_path / "run")


def test_a_loop_of_ones_own_cannot_save_added_tokens_either(copied: Path, tmp_path: Path) -> None:
    supernet = Supernet.convert(transformers.AutoModelForSequenceClassification.from_pretrained(copied))
    tokenizer = transformers.AutoTokenizer.from_pretrained(copied)
    tokenizer.add_tokens(["<URL>"])
    with pytest.raises(ModelError, match=r"run: expected tokens for the .* found '<URL>'"):
        supernet.save(tmp_path / "run", tokenizer, max_length=16)
    assert not (tmp_path / "run").exists()


def test_a_loop_of_ones_own_keeps_the_side_and_the_pad_token(copied: Path, tmp_path: Path) -> None:
    set_config(copied, truncation_side="left", pad_token="[unused3]")
    supernet = Supernet.convert(transformers.AutoModelForSequenceClassification.from_pretrained(copied))
    tokenizer = transformers.AutoTokenizer.from_pretrained(copied)
    supernet.save(tmp_path / "run", tokenizer, max_length=8)
    saved = load_supernet(tmp_path / "run").checkpoint.tokenizer
    assert saved.to_str() == load_tokenizer(copied).to_str()
    (ids,) = encode([Row("snow " * 9 + "ice", None, "cold")], LABELS, saved, max_length=8).ids
    assert ids[-2] == saved.token_to_id("ice")


def test_special_tokens_that_are_to_be_split_are_refused(copied: Path) -> None:
    set_config(copied, split_special_tokens=True)
    with pytest.raises(ModelError, match=r"copied: tokenizer_config\.json: split_special_tokens is not supported"):
        load_checkpoint(copied, LABELS)


def test_a_text_longer_than_the_tokenizer_allows_is_refused(copied: Path, tmp_path: Path) -> None:
    set_config(copied, model_max_length=12)
    message = (
        "settings: expected max_length of at most 12, the model_max_length of tokenizer_config.json, got 16; lower it"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        train_supernet(copied, make_data(), SETTINGS, tmp_path / "run")


def test_a_text_as_long_as_the_tokenizer_allows_is_trained(copied: Path, tmp_path: Path) -> None:
    set_config(copied, model_max_length=12)
    settings = dataclasses.replace(SETTINGS, max_length=12, teacher_epochs=0.5, width_epochs=0.5, depth_epochs=0.5)
    run = train_supernet(copied, make_data(), settings, tmp_path / "run")
    assert run.facts["max_length"] == 12


def answer_of(tokenizer: Tokenizer, context: str, text: str, max_length: int) -> list[int]:
    row = Row("where", context, (Span(context.index(text), text),))
    encoded = encode([row], (), tokenizer, max_length=max_length, task="question-answering")
    first, last = encoded.labels[0].tolist()
    return [first, last] if first == IGNORED else [*encoded.ids[0][first : last + 1].tolist()]


@pytest.mark.parametrize(
    ("side", "seen", "lost"), [("right", "ice frost", "shade dew"), ("left", "shade dew", "ice frost")]
)
def test_an_answer_at_the_side_that_is_cut_teaches_nothing(copied: Path, side: str, seen: str, lost: str) -> None:
    set_config(copied, truncation_side=side)
    tokenizer = load_tokenizer(copied)
    context = "ice frost sun sun sun sun sun sun sun sun shade dew"
    ids = [tokenizer.token_to_id(word) for word in seen.split()]
    assert answer_of(tokenizer, context, seen, 10) == ids
    assert answer_of(tokenizer, context, lost, 10) == [IGNORED, IGNORED]
    for text in (seen, lost):
        assert answer_of(tokenizer, context, text, 32) != [IGNORED, IGNORED]


@pytest.mark.parametrize("side", ["right", "left"])
def test_an_answer_cut_in_two_teaches_nothing(copied: Path, side: str) -> None:
    set_config(copied, truncation_side=side)
    context = "ice frost sun sun sun shade dew"
    assert answer_of(load_tokenizer(copied), context, context, 10) == [IGNORED, IGNORED]


def test_neighbours_of_words_are_found_whatever_the_tokenizer_cuts_and_pads(copied: Path) -> None:
    rows, plain = make_rows(24), load_checkpoint(copied, LABELS)
    wanted = near_words(rows, plain.tokenizer, plain.model.embeddings.word.weight.detach())
    set_config(copied, truncation_side="left", model_max_length=2)
    found = near_words(rows, load_tokenizer(copied), plain.model.embeddings.word.weight.detach())
    words = [(word, row.text, row.text.index(word)) for row in rows for word in row.text.split()]
    assert [found(*word) for word in words] == [wanted(*word) for word in words]
    assert any(map(len, (wanted(*word) for word in words)))


@pytest.mark.parametrize("name", ["BERT, only vocab.txt", "BERT, cased vocab.txt", "ELECTRA, only vocab.txt"])
def test_a_saved_tokenizer_needs_no_config_of_a_model_beside_it(name: str, tmp_path: Path) -> None:
    source, saved = FOLDERS[name].make(tmp_path / "source"), tmp_path / "saved"
    saved.mkdir()

    @dataclasses.dataclass(frozen=True)
    class Parts:
        tokenizer: Tokenizer
        source: Path

    save_tokenizer(Parts(load_tokenizer(source), source), saved)
    assert load_tokenizer(saved).to_str() == load_tokenizer(source).to_str()
