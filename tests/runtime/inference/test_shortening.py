"""A text is cut before anything is made of it, to what the cut of the whole would have left."""

from __future__ import annotations

import dataclasses
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.tag_schemes import recognise_known
from gearshift.runtime.bundle.words import WordRule
from gearshift.runtime.inference.answers import QuestionAnswering, TokenClassification, read_answer
from gearshift.runtime.inference.shortening import BLOCK, shortened
from gearshift.runtime.inference.text import TextEncoder
from gearshift.runtime.inference.words import Words, split_words
from tests.runtime.altered import change_manifest
from tests.runtime.inference.test_answers import FACTS

MB = 1 << 20
SENTENCES = ["turn the lights off ", "play\tthe next  track\n", "wie geht's, 日本 \u00a0 и мир? "]


def tokenizer_of(kind: str) -> Tokenizer:
    """Train a small tokenizer of a kind on a few sentences."""
    special = ["[UNK]"]
    if kind == "WordPiece":
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        made.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=90, special_tokens=special))
    elif kind == "byte-level":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
        made.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=300, special_tokens=special))
    else:
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.train_from_iterator(
            SENTENCES, trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="[UNK]")
        )
    return made


def cut_by(made: Tokenizer, side: str, text: str) -> list[int]:
    """Return the ids of a text that the tokenizer cuts to 16."""
    made.enable_truncation(16, direction=side)
    ids: list[int] = made.encode(text).ids
    return ids


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("places", [False, True])
@pytest.mark.parametrize("kind", ["WordPiece", "byte-level", "SentencePiece"])
def test_a_long_text_has_the_ids_of_the_whole(kind: str, places: bool, side: str) -> None:
    made = tokenizer_of(kind)
    for times in (1, 5, 400):
        text = "".join(SENTENCES) * times
        short = shortened(text, 16 * 32, keeps_places=places, cuts_beginning=side == "left")
        whole = text if places or len(text) <= 16 * 32 else " ".join(text.split())
        assert cut_by(made, side, short.text) == cut_by(made, side, whole)
        assert short.cut == (len(whole) > 16 * 32)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("prompt", ["", "query: ", "query:"])
def test_blanks_are_counted_once_wherever_a_block_ends(prompt: str, left: bool) -> None:
    chosen = random.Random(0)
    for _ in range(60):
        runs = [chosen.choice(["ab", " ", "\n", "é", "\x1f", "x" * BLOCK, " " * BLOCK]) for _ in range(9)]
        text = "".join(run * chosen.randrange(4) for run in runs)
        longest = chosen.choice([8, 100, BLOCK, 2 * BLOCK])
        whole = prompt + text
        joined = whole if len(whole) <= longest else " ".join(whole.split())
        found = shortened(text, longest, prompt=prompt, cuts_beginning=left)
        assert (found.text, found.cut) == (joined[-longest:] if left else joined[:longest], len(joined) > longest)


def encoder_of(directory: Path, side: str = "right", task: str = "classification") -> TextEncoder:
    """Open the tokenizer of a bundle that cuts on this side, as if for another task."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(32, direction=side)
    tokenizer.save(str(directory / "tokenizer.json"))
    change_manifest(directory)
    opened = open_bundle(directory)
    labels = () if task == "question-answering" else opened.manifest.labels
    return TextEncoder(Bundle(opened.path, dataclasses.replace(opened.manifest, task=task, labels=labels), hash=""))


LONG = "ab cd " * (2 * MB // 6)


@pytest.mark.parametrize("text", [LONG, (LONG, LONG), "a" + " " * 2 * MB + "b", "x" * 2 * MB])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("task", ["classification", "token-classification", "question-answering"])
def test_nothing_as_long_as_the_text_is_made(
    bundle_copy: Path, text: str | tuple[str, str], side: str, task: str
) -> None:
    encoder = encoder_of(bundle_copy, side, task)
    if task == "question-answering" and isinstance(text, str):
        text = ("what?", text)
    tracemalloc.start()
    try:
        encoded = encoder.encode([text])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MB // 2
    assert all(len(part) <= 32 * 32 for part in encoded.parts[0])


@pytest.mark.parametrize("rule", [None, WordRule()])
@pytest.mark.parametrize("words", [["ab"] * 200_000, ["x." * MB, "b"], ["b", "x." * MB]])
def test_words_beyond_the_limit_are_not_cut_up(words: list[str], rule: WordRule | None) -> None:
    tracemalloc.start()
    try:
        split, cut = split_words(Words(words), rule, 1024)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MB // 2
    assert cut
    assert split.joined == " ".join(words)[:1024].rstrip()[: len(split.joined)]
    assert 0 < len(split.joined) <= 1024


@pytest.mark.parametrize("rule", [None, WordRule()])
def test_a_word_behind_many_blanks_is_read(rule: WordRule | None) -> None:
    split, _ = split_words(Words([" " * 5000 + "lights", "off"]), rule, 1024)
    assert (split.joined, split.counts) == ("lights", (1,))


def test_an_entity_behind_a_beginning_that_was_cut_off_is_in_its_place(bundle_copy: Path) -> None:
    text = "the " * 10_000 + "lights"
    encoded = encoder_of(bundle_copy, "left", "token-classification").encode([text])
    labels = ("O", "B-thing")
    output = np.tile(np.array([0, 9], np.float32), (encoded.tokens[0], 1))
    answer = read_answer(
        "token-classification",
        output,
        encoded.encodings[0],
        encoded.parts[0],
        labels,
        scheme=recognise_known(labels),
        starts=encoded.starts[0],
    )(**vars(FACTS))
    assert isinstance(answer, TokenClassification)
    found = answer.words
    assert all(text[word.start : word.end] == word.text for word in found)
    assert (found[-1].text, found[-1].end) == ("lights", len(text))
    assert answer.entities[-1].end == len(text)


def test_an_answer_behind_a_beginning_that_was_cut_off_is_in_its_place(bundle_copy: Path) -> None:
    text = "the " * 10_000 + "lights off"
    encoded = encoder_of(bundle_copy, "left", "question-answering").encode([("what now", text)])
    output = np.zeros((encoded.tokens[0], 2), np.float32)
    output[-2] = 9
    answer = read_answer(
        "question-answering", output, encoded.encodings[0], encoded.parts[0], (), starts=encoded.starts[0]
    )(**vars(FACTS))
    assert isinstance(answer, QuestionAnswering)
    assert (answer.answer, answer.end) == ("off", len(text))
    assert text[answer.start : answer.end] == answer.answer
