"""Small data sets of every task, and the vocabulary that a tiny checkpoint knows."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gearshift.trainer.data.splits import DataSet, read_data
from tests.trainer.tiny import FILLERS, KEYWORDS

PAIRED = ("question-answering", "classification")
"""Tasks whose rows here are pairs."""

TASKS = ("multi-label-classification", "regression", "token-classification", "question-answering", "embedding")
COLD, HOT = KEYWORDS["cold"], KEYWORDS["hot"]


def _words(source: random.Random, count: int) -> list[str]:
    return [source.choice(FILLERS) for _ in range(count)]


def _regression(source: random.Random) -> dict[str, Any]:
    words = [source.choice((*COLD, *HOT)) for _ in range(5)]
    return {"sentence": " ".join(words), "score": sum(word in HOT for word in words) / 2}


def _multi_label(source: random.Random) -> dict[str, Any]:
    words = [*_words(source, 2), *(source.choice((*COLD, *HOT)) for _ in range(source.randrange(4)))]
    kinds = [kind for kind, known in (("cold", COLD), ("hot", HOT)) if set(known) & set(words)]
    return {"sentence": " ".join(words), "labels": kinds}


def _token_classification(source: random.Random) -> dict[str, Any]:
    words, tags = [], []
    for kind, size in ((None, 2), (source.choice(("cold", "hot")), source.choice((1, 2))), (None, 2)):
        for number in range(size):
            words.append(source.choice(KEYWORDS[kind] if kind else FILLERS))
            tags.append(f"{'I' if number else 'B'}-{kind}" if kind else "O")
    return {"tokens": words, "ner_tags": tags}


def _question_answering(source: random.Random) -> dict[str, Any]:
    kind = source.choice(("cold", "hot"))
    before = " ".join(_words(source, 1 + source.randrange(4)))
    answer = source.choice(KEYWORDS[kind])
    context = " ".join((before, answer, *_words(source, 2)))
    question = "was there snow" if kind == "cold" else "was there sun"
    return {
        "title": str(source.random()),
        "question": question,
        "context": context,
        "answers": {"text": [answer], "answer_start": [len(before) + 1]},
    }


def _pair_classification(source: random.Random) -> dict[str, Any]:
    one, other = source.choice((COLD, HOT)), source.choice((COLD, HOT))
    first, second = [*_words(source, 2), source.choice(one)], [source.choice(other), *_words(source, 1)]
    return {"sentence": " ".join(first), "sentence2": " ".join(second), "label": "same" if one is other else "other"}


def _embedding(source: random.Random) -> dict[str, Any]:
    return {"sentence": " ".join([*_words(source, 1 + source.randrange(6)), source.choice((*COLD, *HOT))])}


_RECORDS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "multi-label-classification": _multi_label,
    "regression": _regression,
    "token-classification": _token_classification,
    "question-answering": _question_answering,
    "embedding": _embedding,
    "classification": _pair_classification,
}


def write_data(folder: Path, task: str, train: int = 24, test: int = 12) -> Path:
    """A folder with the JSONL files of a task, the same whenever it is called."""
    folder.mkdir(exist_ok=True)
    source = random.Random(3)
    for split, count in (("train", train), ("dev", 6), ("test", test)):
        records = [_RECORDS[task](source) for _ in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def make_task_data(folder: Path, task: str, train: int = 24, test: int = 12) -> DataSet:
    return read_data(write_data(folder, task, train, test), task=task)
