"""A small data set of two heads: the kind of a text, and tags of its words."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from gearshift.runtime.bundle.tasks import MULTI_TASK
from gearshift.trainer.data.splits import DataSet, read_data
from tests.trainer.tiny import FILLERS, KEYWORDS

HEADS = "intent=label,slots=ner_tags"
KINDS = ("cold", "hot")


def record(source: random.Random) -> dict[str, Any]:
    """A text that names one kind of weather once or twice, with its words' tags and the kind as its label."""
    kind, words, tags = source.choice(KINDS), list[str](), list[str]()
    for named, size in ((False, 1 + source.randrange(3)), (True, source.choice((1, 2))), (False, source.randrange(3))):
        for number in range(size):
            words.append(source.choice(KEYWORDS[kind] if named else FILLERS))
            tags.append(f"{'I' if number else 'B'}-{kind}" if named else "O")
    return {"tokens": words, "ner_tags": tags, "label": kind}


def write_heads_data(folder: Path, train: int = 24, test: int = 12) -> Path:
    """A folder with the JSONL files of the data set, the same whenever it is called."""
    folder.mkdir(exist_ok=True)
    source = random.Random(3)
    for split, count in (("train", train), ("dev", 6), ("test", test)):
        records = [record(source) for _ in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    return folder


def make_heads_data(folder: Path, train: int = 24, test: int = 12) -> DataSet:
    return read_data(write_heads_data(folder, train, test), task=MULTI_TASK, heads=HEADS)
