"""Calls with the names of sentence-transformers and transformers, and their answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from gearshift.errors import InputError
from gearshift.export import export_bundle
from gearshift.runtime import Engine, Pipeline, pipeline
from gearshift.runtime.inference.answers import Embedding
from tests.export.test_sentence_vectors import ROWS, run_of
from tests.export.test_tasks import LABELS, QUESTION, TEXT, Made, write_bundle
from tests.export.test_vector_options import PROMPTED
from tests.runtime.altered import change_manifest
from tests.trainer.encoders import HEADS, HeadCase
from tests.trainer.sentence_models import HIDDEN, PROMPT, TEXTS, write_sentence_model
from tests.trainer.tiny import write_checkpoint

FULL = "w100-d100"


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("embedder")
    path = write_sentence_model(folder / "model", PROMPTED, write_checkpoint(folder / "tiny"))
    bundle = export_bundle(run_of(path, folder / "run"), folder / "made.gearshift", ROWS, precisions=["fp32"]).bundle
    with Engine.load(bundle.path, precision="fp32", threads=1) as engine:
        engine.pin(FULL)
        yield engine


def vectors(engine: Engine, texts: Any, **options: Any) -> Any:
    return np.stack([answer.vector for answer in engine.run(list(texts), **options)])


def test_encode_gives_one_array_in_the_order_of_the_texts(embedder: Engine) -> None:
    texts = [*TEXTS, *reversed(TEXTS)]
    wanted = vectors(embedder, texts)
    for size in (1, 3, 32):
        found = embedder.encode(texts, batch_size=size)
        assert found.shape == (len(texts), HIDDEN) and found.dtype == np.float32
        assert np.abs(found - wanted).max() < 1e-5
    assert np.abs(embedder.encode(texts, deadline_ms=60_000) - wanted).max() < 1e-5
    one = embedder.encode(TEXTS[2])
    assert one.shape == (HIDDEN,)
    assert np.abs(one - wanted[2]).max() < 1e-5
    assert embedder.encode([]).shape == (0, HIDDEN)
    assert embedder.encode([], truncate_dim=3).shape == (0, 3)
    listed = embedder.encode(list(TEXTS), convert_to_numpy=False)
    assert isinstance(listed, list) and np.abs(np.stack(listed) - wanted[: len(TEXTS)]).max() < 1e-5


def test_encode_takes_prompts_and_dimensions_as_sentence_transformers_does(embedder: Engine) -> None:
    texts = list(TEXTS)
    by_name = embedder.encode(texts, "passage")
    assert np.abs(by_name - vectors(embedder, texts, prompt="ice ")).max() < 1e-5
    assert np.abs(embedder.encode(texts, prompt=PROMPT) - vectors(embedder, texts)).max() < 1e-5
    cut = embedder.encode(texts, truncate_dim=5)
    assert np.abs(cut - vectors(embedder, texts)[:, :5]).max() < 1e-5, "as it is"
    unit = embedder.encode(texts, truncate_dim=5, normalize_embeddings=True)
    assert np.abs(np.linalg.norm(unit, axis=1) - 1).max() < 1e-5
    assert np.abs(unit - vectors(embedder, texts, dimensions=5)).max() < 1e-5


def test_encode_is_quiet_without_a_terminal(embedder: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    embedder.encode(list(TEXTS), batch_size=1, show_progress_bar=True)
    assert capsys.readouterr() == ("", "")


def test_encode_shows_a_bar_on_a_terminal_unless_told_not_to(
    embedder: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    for shown, size, expected in ((None, 2, True), (None, 32, False), (True, 32, True), (False, 2, False)):
        embedder.encode(list(TEXTS), batch_size=size, show_progress_bar=shown)
        assert ("5/5 texts" in capsys.readouterr().err) == expected


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch_size": 0}, "batch_size: expected a whole number of at least 1"),
        ({"truncate_dim": HIDDEN + 1}, "dimensions: expected a whole number"),
        ({"sentences": ["a", 3]}, "expected a text"),
        ({"sentences": None}, "sentences: expected a text or a list of texts, got NoneType"),
        ({"prompt_name": "no"}, "prompt_name: expected one of"),
    ],
    ids=str,
)
def test_encode_refuses_what_run_refuses(embedder: Engine, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        embedder.encode(**{"sentences": list(TEXTS), **options})


def test_encode_is_for_embeddings(tiny_bundle: Path) -> None:
    with (
        Engine.load(tiny_bundle, precision="fp32", threads=1) as engine,
        pytest.raises(InputError, match="encode: expected a bundle for embedding, got classification; use run"),
    ):
        engine.encode("a text")


# Pipelines


def theirs(made: Made, task: str, kind: str, **options: Any) -> Any:
    model = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(made.path.parent / "model")
    names = {name: f"[{name[:3].upper()}]" for name in ("cls_token", "sep_token", "pad_token", "unk_token")}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made.tokenizer, model_max_length=32, **names)
    return transformers.pipeline(task, model=model, tokenizer=tokenizer, device="cpu", **options)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = write_bundle(tmp_path_factory.mktemp("classifier"), "BERT", HeadCase("classification", 3))
    change_manifest(made.path, labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    return made


def ours(made: Made, task: str, **options: Any) -> Pipeline:
    found = pipeline(task, made.path, precision="fp32", threads=1, **options)
    found.engine.pin(FULL)
    return found


def same(mine: Any, wanted: Any) -> None:
    """Compare plain answers: numbers to 1e-5."""
    if isinstance(wanted, list):
        assert len(mine) == len(wanted)
        for one, other in zip(mine, wanted, strict=True):
            same(one, other)
    elif isinstance(wanted, dict):
        assert mine.keys() == wanted.keys()
        for name in wanted:
            same(mine[name], wanted[name])
    elif isinstance(wanted, float):
        assert mine == pytest.approx(wanted, abs=1e-5)
    else:
        assert mine == wanted


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"top_k": None}], ids=str)
def test_text_classification_answers_as_transformers(classifier: Made, options: dict[str, Any]) -> None:
    own = theirs(classifier, "text-classification", "SequenceClassification")
    with ours(classifier, "text-classification") as mine:
        texts = [TEXT, "winter"]
        for inputs in (TEXT, texts, texts[:1]):
            same(mine(inputs, **options), own(inputs, **options))
        pair = {"text": TEXT, "text_pair": "winter"}
        same(mine([pair], **options), own([pair], **options))
        assert mine([]) == []


@pytest.mark.parametrize("top_k", [0, -1, "2", 1.5, True])
def test_a_number_of_labels_that_is_none_is_refused(classifier: Made, top_k: Any) -> None:
    with (
        ours(classifier, "text-classification") as mine,
        pytest.raises(InputError, match="top_k: expected a whole number of at least 1, or None"),
    ):
        mine(TEXT, top_k=top_k)


def test_a_second_argument_where_there_is_none_is_refused(classifier: Made) -> None:
    with (
        ours(classifier, "text-classification") as mine,
        pytest.raises(
            InputError, match=r"^pipeline: expected texts alone, a list of them for several, got 2 arguments; "
        ),
    ):
        mine(TEXT, ["snow"])


def test_zero_shot_classification_answers_as_transformers(classifier: Made) -> None:
    change_manifest(classifier.path, labels=("contradiction", "neutral", "entailment"))
    own = theirs(classifier, "zero-shot-classification", "SequenceClassification")
    own.model.config.label2id = {"contradiction": 0, "neutral": 1, "entailment": 2}
    try:
        with ours(classifier, "zero-shot-classification") as mine:
            for inputs, several in ((TEXT, False), ([TEXT, "ice"], True)):
                asked = {"candidate_labels": ["snow", "frost"], "hypothesis_template": "it was {}"}
                options: dict[str, Any] = {**asked, "multi_label": several}
                same(mine(inputs, **options), own(inputs, **options))
                labels = options.pop("candidate_labels")
                same(mine(inputs, labels, **options), own(inputs, labels, **options))
            with pytest.raises(InputError, match=r"^pipeline: expected candidate_labels, got none; name the labels"):
                mine(TEXT)
            with pytest.raises(
                TypeError, match=r"^unexpected keyword argument 'labels'; expected deadline_ms, candidate_"
            ):
                mine(TEXT, labels=["snow"])
            for wrong in ((["snow"], "it was {}"), (["snow"], ["frost"], True)):
                with pytest.raises(InputError, match=r"^pipeline: expected texts and candidate_labels, got "):
                    mine(TEXT, *wrong)
            with pytest.raises(
                InputError, match=r"^pipeline: expected texts and candidate_labels, got 2 arguments; name "
            ):
                mine(TEXT, ["snow"], candidate_labels=["frost"])
    finally:
        change_manifest(classifier.path, labels=("LABEL_0", "LABEL_1", "LABEL_2"))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own
def test_question_answering_answers_as_transformers(tmp_path: Path) -> None:
    made = write_bundle(tmp_path, "BERT", HEADS["question answering"])
    own = theirs(made, "question-answering", "QuestionAnswering", align_to_words=False, max_answer_len=30)
    question, context = QUESTION
    with ours(made, "question-answering") as mine:
        wanted = own(question=question, context=context)
        same(mine(question=question, context=context, overlap=0), wanted)  # over the beginning of the sequence too
        same(mine({"question": question, "context": context}, overlap=0), wanted)
        same(mine(question, context, overlap=0), wanted)
        several = mine(question=[question, "was there ice"], context=context)
        assert [set(one) for one in several] == [{"score", "start", "end", "answer"}] * 2
        same(mine([{"question": question, "context": context}], overlap=0), [wanted])
        with pytest.raises(InputError, match="expected a question and a context"):
            mine(question=question)
        with pytest.raises(InputError, match="expected as many contexts as questions, got 1 and 2"):
            mine(question=[question] * 2, context=[context])
        with pytest.raises(TypeError, match="unexpected keyword argument 'top_k'"):
            mine(question=question, context=context, top_k=2)


def test_token_classification_gives_words_or_entities(tmp_path: Path) -> None:
    made = write_bundle(tmp_path, "BERT", HEADS["token classification"])
    with ours(made, "token-classification") as mine:
        answer = mine.engine.run(TEXT)
        words = mine(TEXT, aggregation_strategy="none")
        assert [(one["word"], one["entity"]) for one in words] == [(word.text, word.label) for word in answer.words]
        assert {one["entity"] for one in words} <= set(LABELS)
        entities = mine([TEXT])[0]
        assert [(one["entity_group"], one["start"], one["end"]) for one in entities] == [
            (one.label, one.start, one.end) for one in answer.entities
        ]
        with pytest.raises(InputError, match="aggregation_strategy: expected simple or none, got 'max'"):
            mine(TEXT, aggregation_strategy="max")


def test_a_regression_and_vectors_have_plain_answers(tmp_path: Path, embedder: Engine) -> None:
    made = write_bundle(tmp_path, "BERT", HEADS["regression"])
    with ours(made, "text-classification") as mine:
        assert mine(TEXT) == [{"label": "LABEL_0", "score": mine.engine.run(TEXT).value}]
    extract = pipeline("feature-extraction", embedder)
    answer = embedder.run(TEXTS[0])
    assert isinstance(answer, Embedding)
    assert extract(TEXTS[0]) == answer.vector.tolist()
    assert extract(list(TEXTS[:1]), dimensions=3) == [embedder.run(TEXTS[0], dimensions=3).vector.tolist()]


def test_a_deadline_of_the_pipeline_or_of_a_call_counts(classifier: Made) -> None:
    with pipeline("text-classification", classifier.path, deadline_ms=60_000, threads=1, precision="fp32") as mine:
        mine(TEXT)
        mine(TEXT, deadline_ms=1e-6)
        mine(TEXT, deadline_ms=None)
        found = mine.engine.stats()
    assert (found["met"], found["missed"], found["requests"]) == (1, 1, 3)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("poetry", "pipeline: expected one of text-classification"),
        (
            "question-answering",
            "expected one of text-classification, sentiment-analysis, zero-shot-classification for a ",
        ),
    ],
)
def test_a_task_that_a_bundle_does_not_do_is_refused(classifier: Made, task: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        pipeline(task, classifier.path, threads=1, precision="fp32")
