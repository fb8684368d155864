"""A corpus scored batch by batch, without a cluster: columns, DataFrames, data sets, processes, rows that are none."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pytest

from gearshift.cluster import Scorer
from gearshift.cluster.scorer import COLUMNS
from gearshift.errors import InputError
from gearshift.runtime import Engine
from gearshift.runtime.bundle.tasks import MULTI_TASK, TEXT_TASKS

TEXTS = ["turn the lights off", "play some music", "what is the weather", "lock all the doors"]


@pytest.fixture(scope="module")
def options(profile: Path) -> dict[str, Any]:
    return {"precision": "fp32", "profile": profile}


@pytest.fixture(scope="module")
def expected(tiny_bundle: Path, options: dict[str, Any]) -> list[Any]:
    with Engine.load(tiny_bundle, threads=1, sensors=False, **options) as engine:
        return list(engine.run(TEXTS))


@pytest.fixture(scope="module")
def scorer(tiny_bundle: Path, options: dict[str, Any]) -> Iterator[Scorer]:
    made = Scorer(tiny_bundle, **options)
    yield made
    made.close()


def test_every_task_has_columns() -> None:
    assert COLUMNS.keys() == {*TEXT_TASKS, MULTI_TASK}


@pytest.mark.parametrize("kind", [list, np.array, lambda texts: np.array(texts, object)])
def test_a_batch_of_columns_gets_those_of_the_answers(scorer: Scorer, expected: list[Any], kind: Any) -> None:
    found = scorer({"text": kind(TEXTS), "label": [1, 2, 3, 4]})
    assert list(found) == ["text", "label", "predicted_label", "predicted_score", "predicted_subnet",
                           "predicted_truncated"]  # fmt: skip
    assert found["predicted_label"] == [answer.label for answer in expected]
    assert found["predicted_score"] == pytest.approx([answer.score for answer in expected], abs=1e-6)
    assert set(found["predicted_subnet"]) == {expected[0].subnet}
    assert found["label"] == [1, 2, 3, 4]


def test_frames_of_spark_s_form_get_columns(scorer: Scorer, expected: list[Any]) -> None:
    frames = [pandas.DataFrame({"text": TEXTS[:2]}), pandas.DataFrame({"text": TEXTS[2:], "n": [1, 2]})]
    first, second = scorer.frames(frames)
    labels = [*first["predicted_label"], *second["predicted_label"]]
    assert labels == [answer.label for answer in expected]
    assert list(second["n"]) == [1, 2] and "predicted_label" not in frames[0]


def test_a_data_set_of_the_hub_s_library_is_mapped(scorer: Scorer, expected: list[Any]) -> None:
    data = datasets.Dataset.from_dict({"text": TEXTS * 2}).map(scorer, batched=True, batch_size=3)
    assert data["predicted_label"][:4] == [answer.label for answer in expected]


def test_a_batch_without_rows_has_the_columns(scorer: Scorer) -> None:
    assert scorer({"text": []})["predicted_label"] == []


def test_pairs_and_another_prefix(tiny_bundle: Path, options: dict[str, Any], expected: list[Any]) -> None:
    pairs = Scorer(tiny_bundle, text="a", pair="b", prefix="x_", **options)
    found = pairs({"a": TEXTS, "b": np.array(TEXTS)})
    pairs.close()
    with Engine.load(tiny_bundle, threads=1, sensors=False, **options) as engine:
        wanted = engine.run(list(zip(TEXTS, TEXTS, strict=True)))
    assert found["x_label"] == [answer.label for answer in wanted]


def test_a_text_that_is_none_ends_the_batch_or_has_an_empty_answer(
    tiny_bundle: Path, options: dict[str, Any], scorer: Scorer, expected: list[Any]
) -> None:
    batch = {"text": [TEXTS[0], "", None, TEXTS[1]]}
    with pytest.raises(InputError, match="text 1: empty text"):
        scorer(batch)
    lenient = Scorer(tiny_bundle, on_refused="none", **options)
    found = lenient(batch)
    lenient.close()
    assert found["predicted_label"] == [expected[0].label, None, None, expected[1].label]


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"sentence": TEXTS}, r"batch: expected a column 'text', got \['sentence'\]"),
        ({"text": TEXTS, "predicted_score": TEXTS}, "batch: expected no column 'predicted_score'"),
        (TEXTS, "batch: expected columns by name or a DataFrame, got list"),
    ],
)
def test_a_batch_that_is_none_is_told(scorer: Scorer, batch: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        scorer(batch)


def test_a_row_in_place_of_a_batch_is_told(scorer: Scorer) -> None:
    """Its characters would be scored as texts."""
    with pytest.raises(InputError, match=r"batch: expected a column 'text' of texts, got one text; .*batched=True"):
        scorer({"text": TEXTS[0]})


def test_columns_of_two_lengths_are_told(tiny_bundle: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="batch: expected columns of one length, got 2 texts and 1"):
        Scorer(tiny_bundle, pair="other", **options)({"text": TEXTS[:2], "other": TEXTS[:1]})


def test_a_policy_that_is_none_is_told(tiny_bundle: Path) -> None:
    with pytest.raises(InputError, match="on_refused: expected raise or none, got 'skip'"):
        Scorer(tiny_bundle, on_refused="skip")


def test_what_travels_is_the_arguments_and_not_the_engine(scorer: Scorer, expected: list[Any]) -> None:
    scorer({"text": TEXTS[:1]})
    content = pickle.dumps(scorer)
    assert len(content) < 2000
    again: Scorer = pickle.loads(content)
    assert again({"text": TEXTS})["predicted_label"] == [answer.label for answer in expected]
    again.close()


def test_a_fork_loads_an_engine_of_its_own(scorer: Scorer, expected: list[Any]) -> None:
    scorer({"text": TEXTS[:1]})
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=lambda: answers.put(scorer({"text": TEXTS})["predicted_label"]))
    child.start()
    assert answers.get(timeout=900) == [answer.label for answer in expected]
    child.join(900)


def test_the_words_of_a_text_and_vectors_are_columns_too(made_tagger: Path, made_embedder: Path) -> None:
    tagger = Scorer(made_tagger, text="tokens", precision="fp32", cache=False)
    rows = [["the", "sun"], ["we", "saw", "it"]]
    for batch in ({"tokens": rows}, {"tokens": [np.array(words) for words in rows]}):
        found = tagger(batch)
        assert all(isinstance(entities, list) for entities in found["predicted_entities"])
    tagger.close()
    embedder = Scorer(made_embedder, precision="fp32", cache=False)
    assert np.array(embedder({"text": TEXTS})["predicted_vector"]).shape == (4, 32)
    embedder.close()
