"""What a teacher says about many texts, computed once and kept in a file."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tqdm import tqdm

from gearshift.runtime.dan import Floats, Text
from gearshift.runtime.errors import ModelError
from gearshift.runtime.storage import replace_file

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@torch.no_grad()
def teacher_logits(
    teacher: Path, texts: Sequence[Text], labels: Sequence[str], *, cache: Path, max_length: int, batch_size: int = 32
) -> Floats:
    """Logits (texts, labels) of a classifier's directory: a run's full-size subnet or any of Hugging Face.

    The file in the folder `cache` is named by texts, teacher and length, and read where it is there.
    Raises ModelError where the teacher tells other labels apart.
    """
    path = cache / f"logits-{_name(teacher, texts, labels, max_length)}.npy"
    if path.is_file():
        found: Floats = np.load(path, allow_pickle=False)
        return found
    try:
        model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(teacher, local_files_only=True)
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(teacher, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{teacher}: no classifier that transformers can read ({str(error).splitlines()[0]})"
        ) from error
    places = _places(teacher, dict(model.config.id2label), labels)
    model.eval()
    logits = np.empty((len(texts), len(labels)), np.float32)
    order = np.argsort([len("".join(text)) for text in texts], kind="stable")  # texts of like length in a batch
    for start in tqdm(range(0, len(texts), batch_size), desc="teacher", unit="batch", disable=None):
        rows = order[start : start + batch_size]
        asked = [texts[row] for row in rows]
        inputs = tokenizer(asked, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
        logits[rows] = model(**inputs).logits[:, places].numpy()
    buffer = io.BytesIO()
    np.save(buffer, logits)
    replace_file(path, buffer.getvalue())
    return logits


def _name(teacher: Path, texts: Sequence[Text], labels: Sequence[str], max_length: int) -> str:
    weights = [teacher / name for name in _WEIGHTS if (teacher / name).is_file()]
    facts = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in weights]
    content = json.dumps([str(teacher.resolve()), facts, list(labels), max_length, list(texts)])
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _places(teacher: Path, names: dict[int, str], labels: Sequence[str]) -> list[int]:
    """Which of the teacher's logits is each label's."""
    place_of = {name: place for place, name in names.items()}
    if set(place_of) != set(labels):
        raise ModelError(
            f"{teacher}: expected a teacher of the labels {', '.join(labels)}, found {', '.join(place_of)}; "
            "fine-tune it on this data, or name its labels (id2label) like those of the data"
        )
    return [place_of[label] for label in labels]
