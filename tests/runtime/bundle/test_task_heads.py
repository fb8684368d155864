"""Heads of a model: what their outputs are called, and which ones a manifest takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gearshift.errors import InputError
from gearshift.runtime.bundle.manifest import Manifest
from gearshift.runtime.bundle.tag_schemes import Scheme
from gearshift.runtime.bundle.tagging import Tagging
from gearshift.runtime.bundle.task_heads import TaskHead, is_head_name
from gearshift.runtime.bundle.tasks import MEAN, MULTI_TASK, TASKS, TEXT_TASKS
from gearshift.runtime.bundle.words import WordRule
from tests.runtime.bundle.test_manifest import MANIFEST_VALUE

INTENT = TaskHead("intent", "classification", "accuracy", ("cold", "hot"))
SLOTS = TaskHead("slots", "token-classification", "entity_f1", ("B-x", "O"), Tagging(WordRule(), Scheme("IOB2")))
OTHER_WORDS = Tagging(WordRule(endings=("'s",)), Scheme("IOB2"))


def made(heads: tuple[TaskHead, ...] = (INTENT, SLOTS), **changes: Any) -> Manifest:
    of_heads = {head.name: 0.5 for head in heads}
    pool = tuple(dataclasses.replace(entry, head_accuracies=of_heads) for entry in MANIFEST_VALUE.pool)
    fields: dict[str, Any] = {"task": MULTI_TASK, "metric": MEAN, "labels": (), "heads": heads, "pool": pool}
    return dataclasses.replace(MANIFEST_VALUE, **{**fields, **changes})


def test_each_head_has_an_output_of_its_own() -> None:
    assert [head.output for head in made().every_head] == ["logits.intent", "logits.slots"]
    assert (made().tags, made().per_token, made().words, made().scheme) == (True, True, WordRule(), None)
    labels = dataclasses.replace(INTENT, name="kind")
    assert (made((INTENT, labels)).tags, made((INTENT, labels)).per_token, made((INTENT, labels)).words) == (
        False, False, None,
    )  # fmt: skip


@pytest.mark.parametrize("task", TEXT_TASKS)
def test_a_model_of_one_task_has_one_head_without_a_name(task: str) -> None:
    labels = ("a", "b") if TASKS[task].labelled else ()
    manifest = dataclasses.replace(MANIFEST_VALUE, task=task, labels=labels)
    (head,) = manifest.every_head
    assert (head.name, head.output, head.labels) == ("", TASKS[task].output, labels)
    assert manifest.tags == (task == "token-classification")
    assert "heads" not in manifest.to_dict() and "head_accuracies" not in manifest.to_dict()["pool"][0]
    manifest.require_one_head("it")


def test_what_takes_one_head_says_which_there_are() -> None:
    with pytest.raises(InputError, match=r"has several heads \(intent, slots\), which it cannot take; use a bundle of"):
        made().require_one_head("it")


@pytest.mark.parametrize("name", ["a", "Intent", "a-b_9", "x" * 64])
def test_a_name_is_letters_digits_and_marks(name: str) -> None:
    assert is_head_name(name)


@pytest.mark.parametrize("name", ["", "9", "a.b", "a b", "a/b", "ä", "x" * 65, None, 3])
def test_another_name_is_none(name: object) -> None:
    assert not is_head_name(name)


def _dan() -> Manifest:
    (first, *others) = made().pool
    return made(pool=(dataclasses.replace(first, executor="dan"), *others))


REFUSED: dict[str, Any] = {
    "two or more, each with a name of its own": lambda: made((INTENT,)),
    "two or more, each with a name": lambda: made((INTENT, dataclasses.replace(SLOTS, name="intent"))),
    "expected two or more, each": lambda: made((INTENT, dataclasses.replace(SLOTS, name="a.b"))),
    "head intent: expected a head for classification or token-classification, found 'regression'": (
        lambda: made((dataclasses.replace(INTENT, task="regression"), SLOTS))
    ),
    "found 'classification' by 'loss'": lambda: made((dataclasses.replace(INTENT, metric="loss"), SLOTS)),
    "head slots: labels": lambda: made((INTENT, dataclasses.replace(SLOTS, labels=()))),
    "labels (different texts)": lambda: made((dataclasses.replace(INTENT, labels=("a", "a")), SLOTS)),
    "head slots: expected words and tags": lambda: made((INTENT, dataclasses.replace(SLOTS, tagging=None))),
    "expected tags of the same words": (
        lambda: made((SLOTS, dataclasses.replace(SLOTS, name="parts", tagging=OTHER_WORDS)))
    ),
    "heads (of multi-task, and of nothing else)": lambda: made(task="classification", labels=("a", "b")),
    "metric and labels (of multi-task: mean, and none)": lambda: made(metric="accuracy"),
    "head_accuracies (of every head)": lambda: made(pool=MANIFEST_VALUE.pool),
    "executors (no DAN beside multi-task)": _dan,
}


@pytest.mark.parametrize("message", REFUSED)
def test_heads_that_do_not_go_together_are_refused(message: str) -> None:
    with pytest.raises(InputError) as caught:
        REFUSED[message]()
    assert message in str(caught.value)
