"""Long texts in windows: the answers of transformers' pipeline, tags by most context, means of vectors."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from gearshift.errors import InputError
from gearshift.export.pipeline import export_bundle
from gearshift.runtime import Embedding, Engine, QuestionAnswering, TokenClassification, Words, open_bundle
from gearshift.runtime.inference.answers import probabilities
from gearshift.runtime.inference.text import TextEncoder
from gearshift.runtime.reading.windows import long_text
from tests.command_line import Command
from tests.export.test_sentence_vectors import ROWS, run_of
from tests.export.test_tagging import WORDS, make
from tests.export.test_tasks import LABELS, TOKENIZERS, Made, write_bundle
from tests.runtime.altered import edit_manifest
from tests.trainer.encoders import HEADS
from tests.trainer.sentence_models import LAYOUTS, encode, write_sentence_model
from tests.trainer.tiny import write_checkpoint

FULL = "w100-d100"
QUESTION = "what was there"
VOCABULARY = ["we", "saw", "the", "snow", ",", "and", "much", "ice", "was", "there", "again"]
LONG = " ".join(VOCABULARY[number * number % 11] for number in range(90))
MAX_LENGTH = 32


def loaded(made: Made, **others: Any) -> Engine:
    engine = Engine.load(made.path, precision="fp32", threads=1, **others)
    engine.pin(FULL)
    return engine


@pytest.fixture(scope="module", params=TOKENIZERS)
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return write_bundle(tmp_path_factory.mktemp("asked"), request.param, HEADS["question answering"])


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return write_bundle(tmp_path_factory.mktemp("tagger"), "BERT", HEADS["token classification"])


def pipeline(made: Made) -> Any:
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(made.path.parent / "model")
    roberta = model.config.model_type == "roberta"
    names = ("<s>", "</s>", "<pad>", "<unk>") if roberta else ("[CLS]", "[SEP]", "[PAD]", "[UNK]")
    special = dict(zip(("cls_token", "sep_token", "pad_token", "unk_token"), names, strict=True))
    inputs = ["input_ids", "attention_mask", *([] if roberta else ["token_type_ids"])]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made.tokenizer, model_max_length=MAX_LENGTH, model_input_names=inputs, **special
    )
    return transformers.pipeline("question-answering", model=model, tokenizer=tokenizer, device="cpu")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own
@pytest.mark.parametrize("overlap", [0, 7, 12])
def test_an_answer_is_that_of_transformers_with_a_stride(asked: Made, overlap: int) -> None:
    texts = [LONG, LONG[40:200], "the snow", " ".join(reversed(LONG.split()))]
    theirs = pipeline(asked)
    with loaded(asked) as engine:
        answers = engine.run([(QUESTION, text) for text in texts], overlap=overlap)
    for text, answer in zip(texts, answers, strict=True):
        wanted = theirs(
            question=QUESTION,
            context=text,
            doc_stride=overlap,
            max_seq_len=MAX_LENGTH,
            max_answer_len=30,
            align_to_words=False,
        )
        assert isinstance(answer, QuestionAnswering)
        assert answer.answer.strip() == wanted["answer"].strip()
        assert text[answer.start : answer.end] == answer.answer
        assert answer.score == pytest.approx(wanted["score"], abs=1e-5)
        assert answer.truncated is False
    assert answers[0].windows > 3 and answers[2].windows == 1
    assert answers[0].start > 0 or answers[3].start > 0


def best_span(logits: Any, window: Any) -> tuple[int, int]:
    """First and last token of the best answer of at most 30 tokens."""
    of_text = [place for place, sequence in enumerate(window.sequence_ids) if sequence == 1]
    pairs = [(i, j) for i, j in itertools.product(of_text, repeat=2) if 0 <= j - i < 30]
    return max(pairs, key=lambda pair: float(logits[pair[0], 0] + logits[pair[1], 1]))


def test_a_net_that_knows_questions_without_an_answer_says_so_of_all_windows(asked: Made, tmp_path: Path) -> None:
    encoder = TextEncoder(open_bundle(asked.path))
    cut = long_text(encoder, (QUESTION, LONG), 5, paired=True)
    with loaded(asked) as engine:
        encoded = encoder.made(cut.windows(), *([None] * len(cut.starts) for _ in range(4)))  # type: ignore[arg-type]
        logits = engine._opened.executors[FULL](encoded, None)
    null = min(float(one[0].sum()) for one in logits)
    with loaded(asked) as engine:
        plain = engine.run((QUESTION, LONG), overlap=5)
    places = [
        (row, first, last)
        for row, window in enumerate(cut.windows())
        for first, last in itertools.product(range(len(window.ids)), repeat=2)
        if window.sequence_ids[first] == window.sequence_ids[last] == 1
        and LONG[window.offsets[first][0] : window.offsets[last][1]] == plain.answer
        and (first, last) == best_span(logits[row], window)
    ]
    diff = null - max(float(logits[row][first, 0] + logits[row][last, 1]) for row, first, last in places)

    def give_thresholds(raw: dict[str, Any]) -> None:
        for entry in raw["pool"]:
            entry["null_threshold"] = 0.0

    edit_manifest(asked.path, give_thresholds)
    try:
        for threshold, answerable in ((diff + 0.01, True), (diff - 0.01, False)):
            with loaded(asked, null_threshold=threshold) as engine:
                answer = engine.run((QUESTION, LONG), overlap=5)
            assert (answer.answerable, bool(answer.answer)) == (answerable, answerable)
            assert answer.null_score_diff == pytest.approx(diff, abs=1e-4)
    finally:
        edit_manifest(asked.path, lambda raw: [entry.pop("null_threshold") for entry in raw["pool"]])


def windows_of(count: int, room: int, overlap: int) -> list[range]:
    """Runs of tokens, written anew."""
    found, start = [], 0
    while True:
        found.append(range(start, min(start + room, count)))
        if found[-1].stop == count:
            return found
        start += room - overlap


@pytest.mark.parametrize("overlap", [0, 1, 10, 29])
def test_a_tag_is_that_of_the_window_with_most_context(tagger: Made, overlap: int) -> None:
    words = [word for word in LONG.split() if word != ","]
    text = "  ".join(words)
    runs = windows_of(len(words), MAX_LENGTH - 2, overlap)
    logits = [tagger.logits(" ".join(words[run.start : run.stop])) for run in runs]
    with loaded(tagger) as engine:
        answer, short = engine.run([text, " ".join(words[:9])], overlap=overlap)
        alone = engine.run(" ".join(words[:9]))
    assert isinstance(answer, TokenClassification)
    assert (answer.windows, answer.truncated, answer.tokens) == (len(runs), False, len(words) + 2)
    assert [word.text for word in answer.words] == words
    assert all(text[word.start : word.end] == word.text for word in answer.words)
    for number, word in enumerate(answer.words):
        holding = [(min(number - run.start, run.stop - 1 - number), run) for run in runs if number in run]
        most = max(margin for margin, _ in holding)
        run = next(run for margin, run in holding if margin == most)
        shares = probabilities(logits[runs.index(run)])[1 + number - run.start]
        assert word.label == LABELS[int(shares.argmax())]
        assert word.score == pytest.approx(float(shares.max()), abs=1e-4)
    assert short.words == tuple(
        word.__class__(word.text, word.start, word.end, word.label, pytest.approx(word.score, abs=1e-5))
        for word in alone.words
    )
    assert short.windows == 1


def test_words_of_the_training_rows_and_of_the_caller_are_read_in_windows(tmp_path: Path) -> None:
    made = make(tmp_path, "BERT", "IOB2")
    text = " ".join(word for word in WORDS * 3 if word.isprintable())
    with Engine.load(made.path, precision="fp32", threads=1) as engine:
        cut, whole = engine.run(text), engine.run(text, overlap=8)
    assert cut.truncated and not whole.truncated
    assert len(whole.words) > len(cut.words)
    assert all(text[word.start : word.end] == word.text for word in (*whole.words, *whole.entities))
    assert whole.words[-1].end == len(text)
    assert [word.label for word in whole.words[:3]] == [word.label for word in cut.words[:3]]
    given = Words([word for word in WORDS * 3 if word.isprintable()])
    with Engine.load(made.path, precision="fp32", threads=1) as engine:
        cut, whole = engine.run(given), engine.run(given, overlap=8)
    assert len(whole.words) == len(given.words) > len(cut.words)
    assert [word.text for word in whole.words] == list(given.words)


def vectors_of(path: Path, overlap: int | None, texts: Sequence[str]) -> list[Embedding]:
    with Engine.load(path, precision="fp32", threads=1) as engine:
        engine.pin(FULL)
        return engine.run(list(texts), overlap=overlap)


@pytest.fixture(scope="module")
def checkpoint_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.mark.parametrize("name", ["mean", "mean, normalized", "default prompt that the pooling leaves out"])
def test_a_vector_is_the_mean_over_the_tokens_of_all_windows(name: str, checkpoint_path: Path, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    path = write_sentence_model(tmp_path / "model", layout, checkpoint_path)
    bundle = export_bundle(
        run_of(path, tmp_path / "run"), tmp_path / "made.gearshift", ROWS, precisions=["fp32"]
    ).bundle
    known = ("the", "snow", "sun", "day", "full", "ice", "and", "frost", "was", "there", "again", "we", "saw")
    words = [known[number * number % len(known)] for number in range(75)]
    short, long = " ".join(words[:5]), " ".join(words)
    beside = 2 + len(layout.prompt.split())
    (one, several), (alone,) = vectors_of(bundle.path, 6, [short, long]), vectors_of(bundle.path, None, [short])
    assert np.abs(one.vector - alone.vector).max() < 1e-6
    runs = windows_of(len(words), MAX_LENGTH - beside, 6)
    assert (several.windows, one.windows, several.truncated) == (len(runs), 1, False)
    wanted = encode(path, layout, [" ".join(words[run.start : run.stop]) for run in runs])
    mean = np.average(wanted, axis=0, weights=[len(run) + beside for run in runs])
    if "normalized" in name or bundle.manifest.vectors.normalized:  # type: ignore[union-attr]
        mean /= np.linalg.norm(mean)
    assert np.abs(several.vector - mean).max() < 1e-5


@pytest.fixture(scope="module")
def engine(tagger: Made) -> Iterator[Engine]:
    with loaded(tagger) as engine:
        yield engine


def test_every_window_counts_in_the_deadline(tagger: Made) -> None:
    with Engine.load(tagger.path, precision="fp32", threads=1) as engine:
        one, several = engine.run(LONG, deadline_ms=60_000), engine.run(LONG, overlap=0, deadline_ms=60_000)
    assert several.predicted_ms > 1.5 * one.predicted_ms
    assert (one.truncated, one.windows) == (True, 1)


def test_submit_and_arun_read_windows_too(engine: Engine) -> None:
    wanted = engine.run(LONG, overlap=4)
    for answer in (engine.submit(LONG, overlap=4).result(), asyncio.run(engine.arun(LONG, overlap=4))):
        assert [word.label for word in answer.words] == [word.label for word in wanted.words]
    assert engine.submit([], overlap=4).result() == [] == engine.run([], overlap=4)


@pytest.mark.parametrize(
    ("text", "overlap", "told"),
    [
        (LONG, -1, "overlap: expected a whole number of tokens, at least 0, or None, got -1"),
        (LONG, 1.5, "overlap: expected a whole number"),
        (LONG, True, "overlap: expected a whole number"),
        (LONG, 30, r"overlap: expected fewer tokens than a window has room for \(30 of 32\), got 30"),
        (("a", "pair"), 3, "overlap: expected single texts to read in windows, got tuple"),
        (["a", " "], 3, "text 1: empty text"),
        ("a " * 40_000, 0, "expected at most 1024 windows, got 1334; cut the text yourself"),
        ("a" * 1_100_000, 0, "expected at most 1048576 characters to read in windows, got more"),
    ],
    ids=lambda one: str(one)[:20],
)
def test_what_cannot_be_read_in_windows_is_refused(engine: Engine, text: Any, overlap: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        engine.run(text, overlap=overlap)


def test_a_question_without_room_for_its_text_is_refused(asked: Made) -> None:
    with loaded(asked) as engine, pytest.raises(InputError, match=r"than a window has room for \(0 of 32\), got 2"):
        engine.run((LONG, LONG), overlap=2)
    with loaded(asked) as engine, pytest.raises(InputError, match="expected a question and its text"):
        engine.run(LONG, overlap=2)


def test_a_task_without_windows_is_refused(tiny_bundle: Path) -> None:
    with (
        Engine.load(tiny_bundle, precision="fp32", threads=1) as engine,
        pytest.raises(InputError, match=r"overlap: expected a bundle for token-classification, .*, got classification"),
    ):
        engine.run("a text", overlap=2)


def test_the_command_reads_long_texts_whole(tagger: Made, command: Command) -> None:
    call = ("run", tagger.path, LONG, "--threads", 1, "--precision", "fp32")
    (cut,), (whole,) = (command(*call, *more).out.splitlines() for more in ((), ("--overlap", 4)))
    assert "  truncated" in cut and cut.count("windows") == 0
    assert "truncated" not in whole and whole.endswith("4 windows")
    (answer,) = json.loads(command(*call, "--overlap", 4, "--json").out)["answers"]
    assert (answer["windows"], answer["truncated"]) == (4, False)
