"""Data sets of the Hugging Face hub, through `datasets`; those of GLUE by name.

1. Names are `hub:OWNER/NAME`, `hub:OWNER/NAME/CONFIG` or, for GLUE, `glue/TASK`.
2. Labels that the hub stores as numbers with names become their names.
3. The labels of GLUE's test rows are known to its organisers alone. Its validation rows serve as the test split, and
   dev rows are held out of train, so that no figure is measured on rows that a choice was made on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub

from gearshift.errors import DataError
from gearshift.extras import require

HUB, GLUE = "hub:", "glue/"

GLUE_COLUMNS: Mapping[str, tuple[str, str | None]] = {
    "cola": ("sentence", None),
    "sst2": ("sentence", None),
    "mrpc": ("sentence1", "sentence2"),
    "qqp": ("question1", "question2"),
    "stsb": ("sentence1", "sentence2"),
    "mnli": ("premise", "hypothesis"),
    "qnli": ("question", "sentence"),
    "rte": ("sentence1", "sentence2"),
    "wnli": ("sentence1", "sentence2"),
}
"""GLUE task -> its columns of texts."""

GLUE_SPLITS = {"train": "train", "validation": "test", "validation_matched": "test"}
SPLITS = {
    "train": "train",
    **dict.fromkeys(("validation", "valid", "val", "dev", "development", "eval"), "dev"),
    "test": "test",
}
"""Name of a split on the hub, or of a saved data set -> our name."""

Records = Iterator[tuple[int, dict[str, object]]]
"""Number of each row, from 1, and its values by column."""


def is_hub_name(path: str) -> bool:
    """Return whether a path names a data set of the hub, instead of a local file or folder."""
    return path.startswith(HUB) or (path.startswith(GLUE) and not Path(path).exists())


def glue_columns(path: str, task: str) -> tuple[str, str | None] | None:
    """Return the columns of a GLUE task, None for other data sets; raise DataError for an unknown or unsuitable
    task."""
    if path.startswith(HUB) or not is_hub_name(path):
        return None
    name = path.removeprefix(GLUE)
    if name not in GLUE_COLUMNS:
        raise DataError(f"{path}: GLUE has no such task; expected one of {', '.join(GLUE_COLUMNS)}")
    expected = "regression" if name == "stsb" else "classification"
    if task != expected:
        raise DataError(f"{path}: is for {expected}, not for {task}; pass --task {expected}")
    return GLUE_COLUMNS[name]


def hub_records(path: str) -> dict[str, Callable[[], Records]]:
    """Return split -> function that gives its records; raise DataError in one line if the data set cannot be loaded."""
    require("train", "datasets")
    import datasets

    glue = path.startswith(GLUE)
    parts = ["nyu-mll/glue", path.removeprefix(GLUE)] if glue else _name_and_config(path.removeprefix(HUB))
    level = huggingface_hub.logging.get_verbosity()
    huggingface_hub.logging.set_verbosity_error()  # else it reports each retry at length
    try:
        found = datasets.load_dataset(*parts)
    except Exception as error:  # of any kind, from an unknown name to a machine that is offline
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(
            f"{path}: could not be loaded from the hub ({said}); download it elsewhere and pass its folder"
        ) from error
    finally:
        huggingface_hub.logging.set_verbosity(level)
    ours: dict[str, Callable[[], Records]] = {}
    for split, rows in found.items():
        wanted = (GLUE_SPLITS if glue else SPLITS).get(split)
        if wanted is not None and wanted not in ours:
            ours[wanted] = lambda rows=rows: named_records(rows)  # type: ignore[misc]
    if "train" not in ours:
        raise DataError(f"{path}: has no train split; found {', '.join(found)}")
    return ours


def _name_and_config(name: str) -> list[str]:
    """Split `owner/name` or `owner/name/config` as `datasets` expects; a local directory stays one name."""
    parts = name.split("/")
    return ["/".join(parts[:2]), parts[2]] if len(parts) == 3 and parts[0] else [name]


def named_records(rows: Any) -> Records:
    """Give the rows of a data set of `datasets`, with the names of labels in place of their numbers."""
    names = {column: read for column, kind in rows.features.items() if (read := _names_of(kind)) is not None}
    for number, values in enumerate(rows, start=1):
        yield number, {column: names[column](value) if column in names else value for column, value in values.items()}


def _names_of(kind: Any) -> Callable[[Any], object] | None:
    """Return a function that names a label, or each label of a list; None for a column without labels."""
    if hasattr(kind, "int2str"):
        return lambda value: kind.int2str(value) if value is not None and value >= 0 else None
    inner: Any = getattr(kind, "feature", None)
    if hasattr(inner, "int2str"):
        return lambda values: [inner.int2str(value) for value in values]
    return None
