"""Folder in the layout of the Hugging Face hub: the checkpoint of a supernet, its bundle, and a card that has both
accuracies and latencies."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from gearshift.device_profiles.fingerprint import Fingerprint
from gearshift.device_profiles.latency_table import LatencyTable
from gearshift.errors import InputError
from gearshift.escaping import escaped
from gearshift.export.card import model_card
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import MANIFEST, Manifest
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.runtime.files.hub_cache import BUNDLE_FOLDER
from gearshift.trainer.model.run import SUPERNET, Run

CARD = "README.md"

PIPELINE_TAGS = {
    "classification": "text-classification",
    "multi-label-classification": "text-classification",
    "regression": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "embedding": "sentence-similarity",
}
"""Task of a bundle -> its name on the hub."""

_MARKER = f"{BUNDLE_FOLDER}/{MANIFEST}"
"""File by which an older folder is known; a README.md lies in directories of every kind."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def write_hub_folder(run: Run[Any, Any], bundle: Bundle, out: Path, table: LatencyTable, device: Fingerprint) -> Path:
    """Write the folder of a run and of the bundle that was exported from it, atomically; return its path.

    `table`: latencies of the bundle on `device`. Paths of this machine are left out of what is copied.
    Raises InputError for a bundle of another model or a table of another bundle, StorageError if `out` cannot be
    written.
    """
    manifest = bundle.manifest
    manifest.require_one_head("a folder for the hub")
    manifest.require_texts("hub")
    lacking = set(run.subnets) - {entry.name for entry in manifest.pool}
    if manifest.task != run.task or tuple(manifest.labels) != tuple(run.labels) or len(lacking) == len(run.subnets):
        raise InputError(
            f"{bundle.path}: expected the bundle of {run.path}, found one of another model; export the run"
        )
    if table.bundle_hash != bundle.hash:
        raise InputError(f"{bundle.path}: expected latencies of this bundle, found those of another one; bench it")
    with replacing_directory(out, marker=_MARKER) as fresh:
        shutil.copytree(run.path, fresh, dirs_exist_ok=True, ignore=shutil.ignore_patterns(CARD, ".*"))
        shutil.copytree(bundle.path, fresh / BUNDLE_FOLDER)
        _forget_paths(fresh)
        (fresh / CARD).write_text(hub_card(manifest, table, device, run.facts.get("source")), encoding="utf-8")
    return out


def hub_card(manifest: Manifest, table: LatencyTable, device: Fingerprint, source: object = None) -> str:
    """Write the card: fields of the hub, accuracy and latency of every subnet, and what loads the folder."""
    licence = manifest.licence.lower()
    fields: dict[str, Any] = {
        "library_name": "gearshift",
        "pipeline_tag": PIPELINE_TAGS[manifest.task],
        "tags": ["gearshift", "onnx", "supernet", "dynabert"],
        **({} if licence == "unspecified" else {"license": licence}),
        **({"base_model": source} if isinstance(source, str) and _is_hub_name(source) else {}),
    }
    front = "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
    body = model_card(manifest).partition("\n\n")[2].partition("```python")[0].rstrip()
    return f"""---
{front}
---

# {escaped(manifest.name)}

{body}

## Accuracy and latency

{_latencies(manifest, table)}

Median ms of one call with one text of so many tokens, {table.precision}, {table.threads} threads, on
{escaped(device.cpu_model)} ({device.machine}, {device.cores} CPUs), {table.runs} runs each, {table.date[:10]}.

## Use

```python
from gearshift.runtime import Engine  # answers within deadlines; needs no torch

with Engine.from_pretrained("FOLDER OR CACHED NAME") as engine:
    print(engine.run("some text", deadline_ms=20))
```

`gearshift.trainer.Supernet.from_pretrained` trains it further, and transformers loads the full net from the folder as
any other checkpoint.
"""


def _latencies(manifest: Manifest, table: LatencyTable) -> str:
    """Write a row for each subnet that was timed, as the manifest lists them."""
    entries = [e for e in manifest.pool if e.name in table.median_ms and e.precision in (table.precision, "fp32")]
    accuracy = {e.name: e.accuracy for e in entries if e.precision == table.precision}
    names = list(dict.fromkeys(e.name for e in entries))
    header = ["subnet", manifest.metric, *(f"{length} tokens" for length in table.lengths)]
    rows = [
        [
            name,
            f"{100 * accuracy[name]:.1f} %" if name in accuracy else "",
            *(f"{ms:.2f}" for ms in table.median_ms[name]),
        ]
        for name in names
    ]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows])


def _forget_paths(folder: Path) -> None:
    """Take the places of model and data on this machine out of the run's description."""
    path = folder / SUPERNET
    if path.is_file():
        raw = json.loads(path.read_text(encoding="utf-8"))
        source = raw.get("source")
        changed = {"data": None} | (
            {} if source is None or _is_hub_name(str(source)) else {"source": Path(source).name}
        )
        path.write_text(json.dumps({**raw, **changed}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _is_hub_name(source: str) -> bool:
    return _HUB_NAME.fullmatch(source) is not None and not Path(source).exists()
