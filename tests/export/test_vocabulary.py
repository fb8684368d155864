"""Bundles whose word table has the pieces of some texts: same answers to those, some answer to all others."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from gearshift.errors import DataError, ExportError
from gearshift.export.pipeline import ExportReport, export_bundle
from gearshift.export.vocabulary import VocabularyReport, shrink_vocabulary, texts_of
from gearshift.runtime import Bundle, Engine
from gearshift.runtime.files.atomic import sha256_of
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import TextEncoder
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.runtime.tables.tables import make_tables
from gearshift.runtime.tables.tables_file import TABLES, load_tables, save_tables
from gearshift.trainer.data.rows import Row
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.run import Run, load_supernet, save_run
from gearshift.trainer.nasbert.run import MixedCheckpoint, MixedRun
from tests.trainer.nasbert.tiny import lone_space, random_mixed
from tests.trainer.tiny import LABELS, scatter, write_checkpoint

LETTERS = "abcdefghijklmnopqrstuvwxyz"
KNOWN = ("we saw snow", "the sun was there", "spring and shade")
LENGTH = 24


def spelling_tokenizer(path: Path) -> None:
    """Give a tiny checkpoint's tokenizer every letter beside its words, as BERT's has them."""
    raw = json.loads((path / "tokenizer.json").read_text())
    old = raw["model"]["vocab"]
    words = [word for word in old if not word.startswith("[unused")]
    others = [f"q{one}{other}" for one in LETTERS for other in LETTERS]
    pieces = [*words, *(piece for letter in LETTERS for piece in (letter, f"##{letter}") if piece not in words)]
    assert len(pieces) <= len(old)
    pieces += others[: len(old) - len(pieces)]
    raw["model"]["vocab"] = {piece: place for place, piece in enumerate(pieces)}
    (path / "tokenizer.json").write_text(json.dumps(raw))
    (path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))


@pytest.fixture(scope="module")
def speller(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A supernet of four subnets whose tokenizer can spell every word."""
    folder = tmp_path_factory.mktemp("speller")
    path = write_checkpoint(folder / "model")
    spelling_tokenizer(path)
    checkpoint = load_checkpoint(path, LABELS)
    torch.manual_seed(0)
    scatter(checkpoint.model)
    subnets = uniform_grid(checkpoint.model.shape, (1.0, 0.5), (1.0, 0.5))
    accuracies = dict.fromkeys(subnets, 0.5)
    save_run(folder / "run", checkpoint, subnets=subnets, accuracies=accuracies, facts={"max_length": LENGTH})
    return load_supernet(folder / "run")


@pytest.fixture(scope="module")
def reports(
    speller: Run, rows: tuple[Row, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[ExportReport, ExportReport]:
    """The bundle with all pieces, and the one with those of KNOWN."""
    folder = tmp_path_factory.mktemp("bundles")
    whole = export_bundle(speller, folder / "whole.gearshift", rows)
    return whole, export_bundle(speller, folder / "small.gearshift", rows, vocabulary=KNOWN)


def logits(bundle: Bundle, texts: Sequence[str], precision: str) -> dict[str, np.ndarray]:
    encoder = TextEncoder(bundle)
    session = ElasticSession(bundle, precision, threads=1)
    found = {
        name: np.concatenate([session.run(encoder.encode([text]).calls[0].inputs, entry.choice) for text in texts])
        for name, entry in bundle.pool(precision).items()
    }
    session.close()
    return found


def test_the_word_table_has_the_pieces_of_the_texts_and_every_letter(
    speller: Run, reports: tuple[ExportReport, ExportReport], rows: tuple[Row, ...]
) -> None:
    whole, small = (report.bundle for report in reports)
    vocabulary = Tokenizer.from_file(str(small.path / "tokenizer.json")).get_vocab()
    words = {word for text in KNOWN for word in text.split()} | set(LETTERS)
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    assert set(vocabulary) == words | special | {f"##{letter}" for letter in LETTERS}
    assert small.manifest.space.shape == dataclasses.replace(
        whole.manifest.space.shape, vocabulary=len(vocabulary), positions=LENGTH
    )
    for precision in whole.precisions:
        name = f"{precision}.weights"
        assert small.manifest.files[name].bytes < whole.manifest.files[name].bytes
    known = speller.checkpoint.tokenizer
    changed = sum(any(word not in words for word in known.encode(row.text).tokens[1:-1]) for row in rows)
    expected = VocabularyReport(len(vocabulary), speller.checkpoint.model.shape.vocabulary, changed, len(rows))
    assert reports[1].vocabulary == expected and changed > 0
    assert reports[0].vocabulary is None


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_texts_of_known_pieces_get_the_same_logits(reports: tuple[ExportReport, ExportReport], precision: str) -> None:
    whole, small = (logits(report.bundle, KNOWN, precision) for report in reports)
    for name, before in whole.items():
        assert np.array_equal(before, small[name])
    whole, small = (logits(report.bundle, ("much frost again",), precision) for report in reports)
    assert all(not np.array_equal(before, small[name]) for name, before in whole.items())


def test_other_words_are_spelt_and_answered(reports: tuple[ExportReport, ExportReport]) -> None:
    bundle = reports[1].bundle
    encoded = TextEncoder(bundle).encode(["frost and zebra"])
    tokens = encoded.encodings[0].tokens
    assert tokens == ["[CLS]", "f", *(f"##{x}" for x in "rost"), "and", "z", *(f"##{x}" for x in "ebra"), "[SEP]"]
    with Engine.load(bundle.path, sensors=False) as engine:
        assert engine.run("frost and zebra").label in LABELS


def test_the_accuracies_are_those_of_the_smaller_vocabulary(
    reports: tuple[ExportReport, ExportReport], rows: tuple[Row, ...]
) -> None:
    bundle = reports[1].bundle
    found = logits(bundle, [row.text for row in rows], "fp32")
    for name, entry in bundle.pool("fp32").items():
        right = [LABELS[place] == row.label for place, row in zip(found[name].argmax(-1), rows, strict=True)]
        assert entry.accuracy == pytest.approx(np.mean(right))


def test_an_embedding_is_compared_with_the_net_of_all_pieces(
    speller: Run, rows: tuple[Row, ...], tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(speller.checkpoint.source, task="embedding")
    run = dataclasses.replace(speller, checkpoint=checkpoint, subnets={"w100-d100": checkpoint.model.full})
    whole, small = (
        export_bundle(run, tmp_path / name, rows, precisions=["fp32"], vocabulary=texts).bundle.entry(
            "w100-d100", "fp32"
        )
        for name, texts in (("whole", None), ("small", KNOWN))
    )
    assert whole.accuracy == pytest.approx(1, abs=1e-5)
    assert small.accuracy < 0.999


def test_block_tables_count_the_smaller_embeddings(speller: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    run = dataclasses.replace(speller, path=tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    shape = speller.checkpoint.model.shape
    space = cut_space(shape, list(speller.subnets.values()), 1)
    losses = [[0.0] * len(stage.options) for stage in space.stages]
    supernet = sha256_of(tmp_path / "model.safetensors")
    tables = make_tables(space, losses, full_loss=0.1, supernet=supernet, macs_tokens=128, loss_rows=5, date="")
    save_tables(tmp_path / TABLES, tables)
    bundle = export_bundle(run, tmp_path / "b.gearshift", rows, precisions=["fp32"], vocabulary=KNOWN).bundle
    small = load_tables(bundle.path / TABLES)
    assert small.space.shape == bundle.manifest.space.shape
    full = space.choice(speller.checkpoint.model.full)
    assert small.estimate(full).parameters == bundle.entry("w100-d100", "fp32").parameters
    assert small.rows == tables.rows


def test_nets_of_mixed_operations_lose_words_too(speller: Run, rows: tuple[Row, ...]) -> None:
    space = lone_space()
    words = speller.checkpoint.model.shape.vocabulary
    space = dataclasses.replace(space, shape=dataclasses.replace(space.shape, vocabulary=words))
    model = random_mixed(space)
    checkpoint = MixedCheckpoint(model, speller.checkpoint.tokenizer, LABELS, speller.path)
    run = MixedRun(speller.path, checkpoint, {}, {}, {"max_length": 10})
    pruned, report = shrink_vocabulary(run, KNOWN, rows)
    small = pruned.checkpoint.model
    assert (small.shape.vocabulary, small.shape.positions) == (report.kept, 10)
    kept = [
        checkpoint.tokenizer.token_to_id(pruned.checkpoint.tokenizer.id_to_token(new)) for new in range(report.kept)
    ]
    assert torch.equal(small.embeddings.word.weight, model.embeddings.word.weight[kept])


def test_pairs_bring_both_texts() -> None:
    assert texts_of([Row("one", "two", "x"), Row("three", None, "y")]) == ["one", "two", "three"]


def test_what_cannot_be_is_refused(speller: Run, rows: tuple[Row, ...]) -> None:
    with pytest.raises(DataError, match="vocabulary: expected texts to keep the pieces of, got none"):
        shrink_vocabulary(speller, [], rows)
    shape = dataclasses.replace(speller.checkpoint.model.shape, vocabulary=40)
    fewer = dataclasses.replace(speller.checkpoint, model=ElasticClassifier(shape, len(LABELS)))
    with pytest.raises(ExportError, match=r"vocabulary: the tokenizer has an id \d+, the word table 40 rows"):
        shrink_vocabulary(dataclasses.replace(speller, checkpoint=fewer), KNOWN, rows)
