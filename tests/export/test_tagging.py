"""Bundles of token classification: the engine finds the entities that training and evaluation find in a row."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seqeval.metrics.sequence_labeling import get_entities
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from gearshift.__main__ import main
from gearshift.errors import InputError, SchemaError, SelfTestError
from gearshift.export.pipeline import export_bundle
from gearshift.export.prepare import tagging_of
from gearshift.export.trim import trim_bundle
from gearshift.runtime import Engine, TokenClassification, Words
from gearshift.runtime.bundle.bundle import open_bundle, write_manifest
from gearshift.runtime.bundle.manifest import SELF_TEST, TOKEN_VECTORS, TOKENIZER
from gearshift.runtime.bundle.tag_schemes import Scheme
from gearshift.runtime.inference.answers import read_answer
from gearshift.runtime.inference.self_test import checked_encoder
from gearshift.runtime.inference.self_test_file import WORD_ARRAYS
from gearshift.runtime.inference.text import TextEncoder
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import encode
from gearshift.trainer.data.rows import Row, Tags
from gearshift.trainer.data.words import learn_tagging, starts_of, words_of
from gearshift.trainer.model.checkpoint import Checkpoint, load_checkpoint
from gearshift.trainer.model.run import Run, load_supernet, save_run
from tests.trainer.encoders import HEADS, VOCABULARY, write_model
from tests.trainer.tiny import scatter

LABELS = {
    "IOB2": ("O", "B-x", "I-x", "B-y", "I-y"),
    "IOBES": ("O", "B-x", "I-x", "E-x", "S-x"),
    "BILOU": ("O", "B-x", "I-x", "L-x", "U-x"),
}
WORDS = (
    "Karl-Anna", "lives", "in", "the", "U.S.", "3.5", "isn't", "Anna", "'s", "Ole", ".", ",", "(", ")", "@anna", "...",
    "Corp.", "\U0001f600", "caf\u00e9", "a\u200bb", "\u0000", '"', "https://a.b/c", "\u05d0\u05d1",
)  # fmt: skip
LENGTH = 32


def pieces() -> Tokenizer:
    """BERT's kind, which cuts at every mark and drops control characters."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    letters = sorted({letter for word in WORDS for letter in word.lower() if letter.isprintable()} | {"e"})
    listed = [*special, *letters, *(f"##{letter}" for letter in letters if letter.isalnum())][:VOCABULARY]
    made = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(listed)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def byte_level() -> Tokenizer:
    """RoBERTa's kind: a word behind a blank has another token than one glued to the word before."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.train_from_iterator([" ".join(WORDS[:12])], trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special))
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    return made


def sentence_pieces() -> Tokenizer:
    """XLM-R's kind: words and blanks alike are cut into pieces."""
    scores = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -3.0), ("\u2581in", -2.0)]
    letters = sorted({letter for word in WORDS[:18] for letter in word})[: VOCABULARY - len(scores)]
    made = Tokenizer(models.Unigram([*scores, *((letter, -4.0) for letter in letters)], unk_id=3))
    made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=False)
    return made


TOKENIZERS = {"BERT": (pieces, "[PAD]"), "RoBERTa": (byte_level, "<pad>"), "XLM-R": (sentence_pieces, "<pad>")}


@dataclass(frozen=True)
class Made:
    run: Run
    rows: tuple[Row, ...]
    path: Path
    name: str
    """Name of the scheme of the labels."""

    @property
    def scheme(self) -> Scheme:
        return Scheme(self.name)

    @property
    def checkpoint(self) -> Checkpoint:
        return self.run.checkpoint

    @torch.no_grad()
    def entities(self, row: Row) -> list[tuple[int, int, str]]:
        """Entities that seqeval finds in the labels that torch gives to a row's words, as training encodes it."""
        labels = self.checkpoint.labels
        encoded = encode([row], labels, self.checkpoint.tokenizer, max_length=LENGTH, task="token-classification")
        model = self.checkpoint.model.eval()
        best = model(encoded.select([0]), model.full).logits[0].argmax(-1)
        tags = ["O" if place < 0 else labels[best[place]] for place in encoded.places[0]]
        if self.name == "BILOU":  # in the letters that seqeval's default mode knows
            tags = [tag.replace("L-", "E-").replace("U-", "S-") for tag in tags]
        assert isinstance(row.label, Tags)
        ends = [start + len(word) for start, word in zip(row.label.starts, words_of(row), strict=True)]
        return [(row.label.starts[first], ends[last], kind) for kind, first, last in get_entities(tags)]


def make_rows(labels: Sequence[str], count: int = 40) -> tuple[Row, ...]:
    source = random.Random(4)
    rows = []
    for _ in range(count):
        words = [source.choice(WORDS) for _ in range(source.randint(1, 9))]
        rows.append(Row(" ".join(words), None, Tags(starts_of(words), tuple(source.choices(labels, k=len(words))))))
    return tuple(rows)


def make(folder: Path, encoder: str, scheme: str, facts: dict[str, Any] | None = None) -> Made:
    labels = LABELS[scheme]
    write_model(folder / "model", encoder, HEADS["token classification"])
    tokenizer, pad = TOKENIZERS[encoder]
    tokenizer().save(str(folder / "model" / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": pad}
    (folder / "model" / "tokenizer_config.json").write_text(json.dumps(config))
    checkpoint = load_checkpoint(folder / "model", labels, task="token-classification")
    torch.manual_seed(1)
    scatter(checkpoint.model)
    rows = make_rows(labels)
    known = {"tagging": learn_tagging(rows, labels).to_dict()} if facts is None else facts
    subnets = uniform_grid(checkpoint.model.shape, (1.0,), (1.0,))
    save_run(folder / "run", checkpoint, subnets=subnets, accuracies={}, facts={"max_length": LENGTH, **known})
    run = load_supernet(folder / "run")
    export_bundle(run, folder / "made.gearshift", rows, precisions=("fp32",))
    return Made(run, rows, folder / "made.gearshift", scheme)


CASES = [*((encoder, "IOB2") for encoder in TOKENIZERS), ("BERT", "IOBES"), ("RoBERTa", "BILOU")]


@pytest.fixture(scope="module", params=CASES, ids=", ".join)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("tags"), *request.param)


@pytest.fixture(scope="module")
def engine(made: Made) -> Engine:
    return Engine.load(made.path, precision="fp32", threads=1, sensors=False, cache=False)


def places(answer: TokenClassification) -> list[tuple[int, int, str]]:
    return [(entity.start, entity.end, entity.label) for entity in answer.entities]


def test_a_text_has_the_entities_of_its_row(made: Made, engine: Engine) -> None:
    found = 0
    for row in made.rows:
        answer = engine.run(row.text)
        assert places(answer) == made.entities(row), row
        assert all(row.text[entity.start : entity.end] == entity.text for entity in answer.entities)
        found += len(answer.entities)
    assert found > 20
    together = engine.run([row.text for row in made.rows])
    assert [places(answer) for answer in together] == [made.entities(row) for row in made.rows]


def test_a_text_has_the_words_of_its_row(made: Made, engine: Engine) -> None:
    cut = 0
    for row in made.rows:
        answer = engine.run(row.text)
        listed = words_of(row)
        assert [word.text for word in answer.words] == listed[: len(answer.words)]
        assert answer.truncated or len(answer.words) == len(listed)
        cut += answer.truncated
    assert 0 < cut < len(made.rows)


def test_words_that_are_given_have_the_same_labels(made: Made, engine: Engine) -> None:
    for row in made.rows:
        given, written = engine.run(Words(words_of(row))), engine.run(row.text)
        assert given.words == written.words
        assert given.entities == written.entities
    several = engine.run([Words(words_of(row)) for row in made.rows[:3]])
    assert [places(answer) for answer in several] == [made.entities(row) for row in made.rows[:3]]


def test_the_metric_of_the_bundle_is_that_of_the_answers_to_texts(made: Made, engine: Engine) -> None:
    right = found = expected = 0
    for row in made.rows:
        assert isinstance(row.label, Tags)
        tags = [tag.replace("L-", "E-").replace("U-", "S-") for tag in row.label.tags]
        ends = [start + len(word) for start, word in zip(row.label.starts, words_of(row), strict=True)]
        wanted = {(row.label.starts[first], ends[last], kind) for kind, first, last in get_entities(tags)}
        answered = set(places(engine.run(row.text)))
        right, found, expected = right + len(wanted & answered), found + len(answered), expected + len(wanted)
    assert right > 0
    (entry,) = engine.bundle.manifest.pool
    assert entry.accuracy == pytest.approx(2 * right / (found + expected))


@pytest.mark.parametrize(
    ("glued", "words"),
    [
        ('"Karl-Anna" in the U.S.,', ['"', "Karl-Anna", '"', "in", "the", "U.S.", ","]),
        ("(3.5)  isn't\nAnna's .", ["(", "3.5", ")", "isn't", "Anna", "'s", "."]),
        ("@anna\U0001f600, Corp....", ["@anna", "\U0001f600", ",", "Corp", "...."]),
        ("\ufeffcaf\u00e9.\u00a0\u05d0\u05d1", ["\ufeffcaf\u00e9", ".", "\u05d0\u05d1"]),
        ("a\u200bb https://a.b/c.", ["a\u200bb", "https://a.b/c", "."]),
    ],
)
def test_what_is_glued_to_a_word_does_not_change_its_label(
    made: Made, engine: Engine, glued: str, words: list[str]
) -> None:
    answer = engine.run(glued)
    assert [word.text for word in answer.words] == words
    assert all(glued[one.start : one.end] == one.text for one in (*answer.words, *answer.entities))
    apart = engine.run(" ".join(words))
    assert [(word.text, word.label) for word in answer.words] == [(word.text, word.label) for word in apart.words]
    assert [entity.label for entity in answer.entities] == [entity.label for entity in apart.entities]


def test_words_that_the_rule_cuts_have_one_label_each_when_they_are_given(made: Made, engine: Engine) -> None:
    given = engine.run(Words(["Anna's", "in the", "Ole,"]))
    written = engine.run("Anna 's in the Ole ,")
    assert [(word.text, word.start, word.end) for word in given.words] == [
        ("Anna's", 0, 6),
        ("in the", 7, 13),
        ("Ole,", 14, 18),
    ]
    labels = [word.label for word in written.words]
    joined = [made.scheme.join(labels[start : start + 2], made.checkpoint.labels) for start in (0, 2, 4)]
    assert [word.label for word in given.words] == joined
    assert [entity.label for entity in given.entities] == [entity.label for entity in written.entities]


def test_words_behind_the_end_of_what_the_model_reads_have_no_label(engine: Engine) -> None:
    text = "lives in the " * 30
    answer = engine.run(text)
    assert answer.truncated
    assert answer.tokens == LENGTH
    assert 0 < len(answer.words) < 30
    assert text.startswith(" ".join(word.text for word in answer.words))
    given = engine.run(Words(text.split()))
    assert (given.truncated, given.words) == (True, answer.words)


def test_of_a_text_whose_beginning_is_cut_off_the_words_at_the_end_have_labels(one: Made, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_str(one.checkpoint.tokenizer.to_str())
    tokenizer.enable_truncation(LENGTH, direction="left")
    encoder = TextEncoder(open_bundle(altered(one, tmp_path / "left", tokenizer=tokenizer.to_str())))
    text = " ".join(["in", "the"] * 30)
    for given, size in ((text, 2), (Words(["in the"] * 30), 1)):
        encoded = encoder.encode([given])
        output = np.zeros((encoded.tokens[0], 5), np.float32)
        read = read_answer(
            "token-classification", output, encoded.encodings[0], encoded.parts[0], one.checkpoint.labels,
            scheme=one.scheme, split=encoded.splits[0],
        )  # fmt: skip
        words = read.keywords["words"]  # type: ignore[attr-defined]
        assert 0 < len(words) < 30 * size
        assert words[-1].end == len(text)
        assert words[0].start > 0


@pytest.mark.parametrize("text", ["x" * 100_000, "\u4e2d" * 5_000, "?!" * 50_000, "in" + "x" * 100_000 + " the"])
def test_of_a_very_long_word_the_beginning_is_read(engine: Engine, text: str) -> None:
    answer = engine.run(text)
    assert answer.truncated
    assert len(answer.words) <= LENGTH
    assert text.startswith("".join(word.text for word in answer.words))
    assert answer.words[0].start == 0


def test_blanks_do_not_push_the_words_out(engine: Engine) -> None:
    answer = engine.run(" " * 100_000 + "in the" + "\n" * 100_000 + "U.S.")
    assert not answer.truncated
    assert [(word.text, word.start) for word in answer.words] == [("in", 100_000), ("the", 100_003), ("U.S.", 200_006)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Words: empty list; expected at least one word"),
        ("Anna", "Words: expected a list of words, got str"),
        (None, "Words: expected a list of words, got NoneType"),
        (["a", ""], "word 1: empty; expected a word, leave it out together with its label"),
        (["a", " \n"], "word 1: empty"),
        (["a", 3], r"word 1: expected a word \(str\), got int"),
        (["\ud800"], "not valid Unicode"),
    ],
)
def test_words_that_are_none_are_one_line(engine: Engine, words: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        engine.run(Words(words))
    listed: list[Any] = ["fine", Words(words)]
    with pytest.raises(InputError, match=f"^text 1: {message}"):
        engine.run(listed)


def test_the_bundle_records_words_and_scheme_and_tests_them(made: Made, tmp_path: Path) -> None:
    bundle = open_bundle(made.path)
    assert bundle.manifest.tagging is not None
    assert bundle.manifest.tagging.to_dict() == made.run.facts["tagging"]
    assert bundle.manifest.tagging.scheme.name == made.name
    checked_encoder(bundle)
    with np.load(made.path / SELF_TEST) as arrays:
        texts, found = arrays[WORD_ARRAYS[0]].tolist(), arrays[WORD_ARRAYS[2]]
    assert any("Karl-Anna" in text and "U.S.," in text for text in texts)
    assert len(texts) == 9
    assert (found[..., 2].max(-1) <= np.array([len(text) for text in texts])).all()
    assert main(["verify", str(made.path)]) == 0


def altered(made: Made, target: Path, **changes: Any) -> Path:
    """A copy of a bundle with another manifest, or another tokenizer or self-test; without the vectors of its own."""
    shutil.copytree(made.path, target)
    (target / TOKEN_VECTORS).unlink()
    if "tokenizer" in changes:
        (target / TOKENIZER).write_text(changes.pop("tokenizer"))
    if changes.pop("no_words", False):
        with np.load(target / SELF_TEST) as arrays:
            left = {name: arrays[name] for name in arrays.files if name not in WORD_ARRAYS}
        np.savez_compressed(target / SELF_TEST, allow_pickle=False, **left)
    write_manifest(target, dataclasses.replace(open_bundle(made.path).manifest, **changes))
    return target


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("one"), "BERT", "IOBES")


def test_a_device_that_cuts_words_in_another_way_is_told_so(one: Made, tmp_path: Path) -> None:
    raw = json.loads(one.checkpoint.tokenizer.to_str())
    raw["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    with pytest.raises(
        SelfTestError, match=r"self-test of words: expected other words or tokens in .*; use the version"
    ):
        Engine.load(altered(one, tmp_path / "tokenizer", tokenizer=json.dumps(raw)), cache=False)
    tagging = open_bundle(one.path).manifest.tagging
    assert tagging is not None
    other = dataclasses.replace(tagging, words=dataclasses.replace(tagging.words, after={}))
    with pytest.raises(SelfTestError, match="self-test of words"):
        Engine.load(altered(one, tmp_path / "rule", tagging=other), cache=False)
    with pytest.raises(SchemaError, match="no self-test of words"):
        Engine.load(altered(one, tmp_path / "none", no_words=True), cache=False)


def test_a_word_that_the_tokenizer_drops_is_outside(one: Made) -> None:
    with Engine.load(one.path, precision="fp32", threads=1, cache=False, sensors=False) as engine:
        for answer in (engine.run("in \u0000 the \u0000"), engine.run(Words(["in", "\u0000", "the", "\u0000"]))):
            assert [word.text for word in answer.words] == ["in", "\u0000", "the", "\u0000"]
            assert [(word.label, word.score) for word in answer.words[1::2]] == [("O", 0), ("O", 0)]


def test_a_bundle_that_records_no_words_answers_as_it_did(one: Made, tmp_path: Path) -> None:
    """Each part that the tokenizer cuts is a word; the scheme is that of its labels, and given words are kept."""
    path = altered(one, tmp_path / "old", tagging=None)
    assert "tagging" not in json.loads((path / "manifest.json").read_text())
    with Engine.load(path, precision="fp32", threads=1, cache=False, sensors=False) as engine:
        answer = engine.run("Karl-Anna lives.")
        assert [word.text for word in answer.words] == ["Karl", "-", "Anna", "lives", "."]
        for row in one.rows:
            given = engine.run(Words(words_of(row)))
            assert places(given) == one.entities(row)
            assert [word.text for word in given.words] == words_of(row)[: len(given.words)]


def test_a_run_that_records_no_words_learns_them_from_the_held_out_rows(tmp_path: Path) -> None:
    made = make(tmp_path, "BERT", "IOB2", facts={})
    tagging = open_bundle(made.path).manifest.tagging
    assert tagging == learn_tagging(made.rows, made.checkpoint.labels)


def test_a_run_whose_rows_are_known_learns_them_from_its_training_rows(one: Made, tmp_path: Path) -> None:
    for split, words in (("train", ["Mr.", "Li", "."]), ("dev", ["a", "b", "c"]), ("test", ["a", "b", "c"])):
        record = json.dumps({"tokens": words, "ner_tags": ["O", "S-x", "O"]})
        (tmp_path / f"{split}.jsonl").write_text(f"{record}\n{record}\n")
    run = dataclasses.replace(one.run, facts={**one.run.facts, "tagging": None, "data": str(tmp_path)})
    found = tagging_of(run, one.rows)
    assert found is not None
    assert found.words.kept == {"Mr."}


def test_a_smaller_vocabulary_keeps_the_pieces_of_the_words_of_its_texts(tmp_path: Path) -> None:
    """A full stop that is glued in the text is a word of its own for the model, with another piece."""
    made = make(tmp_path, "RoBERTa", "IOB2")
    report = export_bundle(
        made.run, tmp_path / "small.gearshift", made.rows, precisions=("fp32",), vocabulary=["in Corp. (Ole)"]
    )
    assert report.vocabulary is not None
    assert report.vocabulary.kept < report.vocabulary.of
    whole, small = (TextEncoder(open_bundle(path)) for path in (made.path, tmp_path / "small.gearshift"))
    pieces_of = [encoder.encode(["in Corp. (Ole)"]).encodings[0].tokens for encoder in (whole, small)]
    assert pieces_of[0] == pieces_of[1]


def test_a_trimmed_bundle_keeps_its_words(one: Made, tmp_path: Path) -> None:
    trimmed = trim_bundle(open_bundle(one.path), tmp_path / "trimmed.gearshift", keep=["w100-d100"])
    assert trimmed.manifest.tagging == open_bundle(one.path).manifest.tagging
    checked_encoder(trimmed)


def test_text_without_blanks_is_refused_where_training_had_whole_words(one: Made, tmp_path: Path) -> None:
    tagging = open_bundle(one.path).manifest.tagging
    assert tagging is not None
    rule = dataclasses.replace(tagging.words, longest_ideographs=2)
    path = altered(one, tmp_path / "segmented", tagging=dataclasses.replace(tagging, words=rule))
    with Engine.load(path, precision="fp32", threads=1, cache=False, sensors=False) as engine:
        with pytest.raises(
            InputError,
            match=r"^'张三在北京' has no blanks between its words; .* at most 2 characters; pass Words",
        ):
            engine.run("\u5f20\u4e09\u5728\u5317\u4eac")
        assert len(engine.run("\u5f20\u4e09 \u5728 \u5317\u4eac").words) == 3
        assert len(engine.run(Words(["\u5f20\u4e09\u5728\u5317\u4eac"])).words) == 1


def test_words_are_for_token_classification_alone() -> None:
    with (
        Engine.load("tests/data/tiny.gearshift", sensors=False, cache=False) as engine,
        pytest.raises(
            InputError, match=r"^expected a text, got Words, which are for token classification; pass a text"
        ),
    ):
        engine.run(Words(["turn", "on"]))


def test_every_short_sequence_of_words_has_the_entities_of_its_row(one: Made) -> None:
    words = ("Karl-Anna", "U.S.", ",", "3.5", "isn't")
    with Engine.load(one.path, precision="fp32", threads=1, cache=False, sensors=False) as engine:
        for listed in itertools.product(words, repeat=3):
            row = Row(" ".join(listed), None, Tags(starts_of(listed), ("O",) * 3))
            assert places(engine.run(row.text)) == one.entities(row), listed
