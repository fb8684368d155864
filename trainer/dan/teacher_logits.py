"""Logits of a teacher for many texts, computed once and stored in a file.

A teacher is a run, any classifier directory of Hugging Face, or a bundle. A bundle answers with its most accurate
subnet, in int8 if it has that, else in fp32, which takes a fraction of the time on a CPU. Runs and classifiers use a
GPU if there is one; the file can be taken to another machine that has the same teacher.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import transformers
from tqdm import tqdm

from gearshift.errors import DataError, ModelError, first_line
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.bundle.manifest import MANIFEST
from gearshift.runtime.dan.model import Floats, Text
from gearshift.runtime.files.atomic import sha256_of
from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession
from gearshift.schema import read_if_whole
from gearshift.trainer.data.formats import read_records
from gearshift.trainer.data.rows import choose_columns
from gearshift.trainer.data.tokenizer import FILES as TOKENIZER_FILES
from gearshift.trainer.data.tokenizer import check_ids
from gearshift.trainer.learning.sealed import read_sealed, write_sealed
from gearshift.trainer.model.checkpoint import PROBLEM_TYPES
from gearshift.trainer.model.labels import label_names
from gearshift.trainer.model.loading import load_transformers
from gearshift.trainer.model.run import SCHEMA, SUPERNET

MAX_LENGTH = 128
"""Tokens of a text that a Hugging Face classifier reads unless told otherwise."""
BATCH_SIZE = 16
GPU_BATCH_SIZE = 256
_DECISIVE = (MANIFEST, "config.json", "tokenizer.json", *TOKENIZER_FILES, "*.safetensors", "*.bin", "*.index.json")
"""Files that determine a teacher's answers, with all parts of its weights; a manifest has the hashes of all files of
its bundle."""


class Classifier(Protocol):
    """A classifier of texts, independent of the library that runs it."""

    labels: tuple[str, ...]
    """Names of the labels in the order of the logits."""
    batch_size: int
    """Number of texts at once, unless told otherwise."""

    def logits(self, texts: Sequence[Text]) -> Floats:
        """Return the logits (texts, labels)."""


def teacher_logits(
    path: Path,
    texts: Sequence[Text],
    labels: Sequence[str],
    *,
    cache: Path,
    max_length: int | None = None,
    batch_size: int | None = None,
) -> Floats:
    """Return logits (texts, labels) of the teacher in a directory.

    They are stored in the folder `cache`, in a file named by the texts, the contents of the teacher's files, and the
    length, and read from there if it exists; an interruption loses one batch.
    `max_length`: tokens that the teacher reads of a text, by default as many as it was trained on; for a bundle, as the
    bundle states.
    Raises ModelError if the teacher has other labels.
    """
    if max_length is None and not (path / MANIFEST).is_file():
        max_length = _trained_length(path)
    kept = cache / f"logits-{_name(path, texts, labels, max_length)}.npy"
    with contextlib.suppress(OSError, ValueError):  # missing or damaged: computed below
        return _logits_of(read_sealed(kept))
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(".part")
    teacher = open_classifier(path, max_length)
    _fill(unfinished, teacher, path, texts, labels, batch_size or teacher.batch_size)
    write_sealed(kept, unfinished.read_bytes())
    unfinished.unlink()
    return _logits_of(read_sealed(kept))


def _logits_of(content: bytes) -> Floats:
    found: Floats = np.load(io.BytesIO(content), allow_pickle=False)
    return found


def open_classifier(path: Path, max_length: int | None = None) -> Classifier:
    """Open the teacher in a directory, of any kind; raises ModelError or BundleError."""
    require_classifier(path)
    return _Bundled(path) if (path / MANIFEST).is_file() else _HuggingFace(path, max_length)


def require_classifier(path: Path) -> None:
    """Raise ModelError for a teacher that states another task; its labels may be those of the data all the same."""
    task = next((task for name in (MANIFEST, SUPERNET) if (task := read_if_whole(path / name, _task))), None)
    if task is None:
        problem = read_if_whole(path / "config.json", lambda raw: raw.get("problem_type"))
        task = next((task for task, known in PROBLEM_TYPES.items() if known == problem), "classification")
    if task != "classification":
        raise ModelError(f"{path}: expected a teacher of classification, found one of {task}; a DAN learns no other")


def _task(raw: Any) -> Any:
    return raw["task"]


def _fill(
    file: Path, teacher: Classifier, path: Path, texts: Sequence[Text], labels: Sequence[str], batch_size: int
) -> None:
    """Compute the logits that are still missing in a file, where they are NaN."""
    places = _places(path, teacher.labels, labels)
    shape = (len(texts), len(labels))
    if file.is_file():
        logits = np.lib.format.open_memmap(file, "r+")
    else:
        logits = np.lib.format.open_memmap(file, "w+", np.float32, shape)
        logits[:] = np.nan
        logits.flush()
    order = np.argsort([len("".join(text)) for text in texts], kind="stable")  # texts of similar length in a batch
    missing = order[np.isnan(logits[order]).any(1)]
    with tqdm(total=len(texts), initial=len(texts) - len(missing), desc="teacher", unit="text", disable=None) as bar:
        for start in range(0, len(missing), batch_size):
            rows = missing[start : start + batch_size]
            logits[rows] = teacher.logits([texts[row] for row in rows])[:, places]
            bar.update(len(rows))
    logits.flush()


class _HuggingFace:
    """Classifier of transformers, run with torch."""

    def __init__(self, path: Path, max_length: int | None) -> None:
        loaded = load_transformers("AutoModelForSequenceClassification", path, what="bundle and no classifier")
        if loaded.missing:
            raise ModelError(
                f"{path}: is no classifier: {len(loaded.missing)} of its weights are missing ({loaded.missing[0]}); "
                "give one that was fine-tuned"
            )
        self._model: Any = loaded.model
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
        except Exception as error:  # a damaged file raises any error of its parser
            raise ModelError(f"{path}: no tokenizer that transformers can read ({first_line(error)})") from error
        check_ids(self._tokenizer, self._model.get_input_embeddings().num_embeddings, path)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.batch_size = GPU_BATCH_SIZE if self._device.type == "cuda" else BATCH_SIZE
        self._model.eval().to(self._device)
        self.labels = label_names(self._model.config, path / "config.json")
        self._max_length = max_length or min(_trained_length(path), self._tokenizer.model_max_length)

    @torch.no_grad()
    def logits(self, texts: Sequence[Text]) -> Floats:
        inputs = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._max_length, return_tensors="pt"
        )
        found: Floats = self._model(**inputs.to(self._device)).logits.cpu().numpy()
        return found


class _Bundled:
    """Most accurate subnet of a bundle, run with onnxruntime."""

    batch_size = BATCH_SIZE

    def __init__(self, path: Path) -> None:
        bundle = open_bundle(path)
        precision = "int8" if "int8" in bundle.precisions else "fp32"
        self.labels = bundle.manifest.labels
        session = ElasticSession(bundle, precision, threads=torch.get_num_threads())
        check_self_test(session, bundle)
        best = max(bundle.pool(precision).values(), key=lambda entry: (entry.choosing_accuracy, entry.macs))
        opened = Opened.of(bundle, session)
        self._executor, self._encoder = opened.executors[best.name], opened.encoder

    def logits(self, texts: Sequence[Text]) -> Floats:
        return np.stack(self._executor(self._encoder.encode(texts), None))


def _trained_length(path: Path) -> int:
    """Return the number of tokens that a run was trained on."""
    if not (path / SUPERNET).is_file():
        return MAX_LENGTH
    return SCHEMA.read(path / SUPERNET, lambda facts: int(facts.get("max_length", MAX_LENGTH)))


def _name(teacher: Path, texts: Sequence[Text], labels: Sequence[str], max_length: int | None) -> str:
    paths = {path for pattern in _DECISIVE for path in teacher.glob(pattern) if path.is_file()}
    files = {path.name: sha256_of(path) for path in sorted(paths)}
    content = json.dumps([files, list(labels), max_length, list(texts)])
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _places(path: Path, found: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return the place of each label among the teacher's logits."""
    if set(found) != set(wanted):
        raise ModelError(
            f"{path}: expected a teacher of the labels {', '.join(wanted)}, found {', '.join(found)}; "
            "fine-tune it on this data, or name its labels (id2label) like those of the data"
        )
    return [found.index(label) for label in wanted]


def read_unlabelled(
    path: Path, *, paired: bool = False, text_column: str = "", pair_column: str | None = ""
) -> tuple[Text, ...]:
    """Read the texts of a plain file, one a line, or of the text columns of TSV, CSV or JSONL; pairs for paired data.

    Blank texts are left out. Raises DataError in one line that names the file and, if there is one, the line.
    """
    columns = choose_columns("classification", text_column, pair_column, "")
    if paired and columns.pair is None:
        raise DataError(f"{path}: expected a column of second texts, as the data has pairs; name it")
    wanted = (columns.text, columns.pair) if paired and columns.pair is not None else (columns.text,)
    found: list[Text] = []
    for line, values in read_records(path, wanted):
        parts = [values[name] for name in wanted]
        if not all(isinstance(part, str) for part in parts):
            raise DataError(f"{path}:{line}: expected text in {' and '.join(wanted)}, found {parts!r}")
        texts = [str(part).strip() for part in parts]
        if all(texts):
            found.append((texts[0], texts[1]) if paired else texts[0])
    return tuple(found)
