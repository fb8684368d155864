"""Embedding of a bundle: the folder that an app ships, with all that a client in another language reads.

    FOLDER/
      manifest.json               names the graphs below, and has their hashes
      fp32.ort  int8.ort          one file per precision in ORT format, weights inside: an app's assets are no paths
      tokenizer.json  tokenizer_config.json
      selftest.npz  selftest.json  dan.safetensors
      required_operators.config   operators and types of the graphs, for a reduced build of ONNX Runtime
      vectors/                    what a client must give, as `gearshift vectors` writes it
      latencies.json              place for the table that is measured on the device

It needs no torch and no onnx: ONNX Runtime writes its own format.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.errors import InputError, StorageError
from gearshift.number_checks import shown
from gearshift.runtime.bundle.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.bundle.manifest import (
    CPU_PRECISIONS,
    DAN_EXECUTOR,
    DAN_FILE,
    MANIFEST,
    SELF_TEST,
    TOKEN_VECTORS,
    TOKENIZER,
    Manifest,
)
from gearshift.runtime.conformance.decisions import make_decision_vectors, write_decision_vectors
from gearshift.runtime.conformance.texts import make_text_vectors, refusals, write_text_vectors
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.runtime.graph.check import ORT_SUFFIX
from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.self_test_file import read_self_test
from gearshift.runtime.inference.session import ElasticSession, save_ort

OPERATORS = "required_operators.config"
TOKENIZER_CONFIG = "tokenizer_config.json"
VECTORS = "vectors"
LATENCIES = "latencies.json"
OWN = frozenset({
    MANIFEST, TOKENIZER, TOKENIZER_CONFIG, SELF_TEST, TOKEN_VECTORS, DAN_FILE, OPERATORS, VECTORS, LATENCIES,
    *(f"{precision}{ORT_SUFFIX}" for precision in CPU_PRECISIONS),
})  # fmt: skip
"""Names that may be in a folder; one with another is not replaced."""

Progress = Callable[[str, int, int], None]


def embed_bundle(bundle: Bundle, out: Path, progress: Progress = lambda what, done, total: None) -> Bundle:
    """Write the folder of a bundle, atomically, check its graphs, and return it as a bundle.

    An older such folder is replaced but for its latency table, and nothing else: other directories of apps have a
    `manifest.json` too, and tools of ONNX Runtime leave a list of operators beside their models.
    Raises InputError for a bundle without a graph for CPUs, SelfTestError if a graph in ORT format gives other numbers,
    StorageError if `out` cannot be written.
    """
    bundle.manifest.require_one_head("embed, whose readers have one output,")
    bundle.manifest.require_texts("embed")
    _refuse_foreign(out)
    precisions = [one for one in bundle.precisions if one in CPU_PRECISIONS]
    if not precisions:
        raise InputError(f"{bundle.path}: expected a graph for CPUs, found {', '.join(bundle.precisions)}; export fp32")
    with replacing_directory(out, marker=OPERATORS) as fresh:
        opened = {}
        for number, precision in enumerate(precisions):
            progress("graphs", number, len(precisions))
            opened[precision] = _write_graph(bundle, fresh, precision)
        _write_operators(fresh)
        manifest = _manifest(bundle.manifest, precisions)
        _copy_others(bundle, fresh, manifest)
        write_manifest(fresh, manifest)
        written = open_bundle(fresh)
        _write_vectors(opened, written, fresh / VECTORS, progress)
        _keep_latencies(out / LATENCIES, fresh / LATENCIES)
    return dataclasses.replace(written, path=out)


def _refuse_foreign(out: Path) -> None:
    """Raise StorageError if a folder that would be replaced has something that `embed_bundle` did not write."""
    if not (out / OPERATORS).exists():
        return  # `replacing_directory` tells of it, unless the folder is empty
    foreign = sorted({one.name for one in out.iterdir()} - OWN)
    if foreign or not (out / MANIFEST).exists():
        raise StorageError(
            f"{out}: could not be written (expected a folder of `gearshift embed`, found "
            f"{shown(foreign[0]) if foreign else f'no {MANIFEST}'}); nothing was changed there; name another directory"
        )


def _keep_latencies(old: Path, new: Path) -> None:
    """Copy the latency table that somebody measured, or make a place for one."""
    if old.is_file():
        new.write_bytes(old.read_bytes())
    else:
        new.write_text(json.dumps({"schema_version": 1, "tables": []}) + "\n", encoding="utf-8")


def _write_graph(bundle: Bundle, folder: Path, precision: str) -> Opened:
    """Write the graph of a precision in ORT format; return it opened and checked."""
    source = bundle.path / next(iter(bundle.pool(precision).values())).file
    target = folder / f"{precision}{ORT_SUFFIX}"
    bundle.check_graph_files([precision])
    save_ort(source, target, bundle.manifest.session_options)
    session = ElasticSession(bundle, precision, threads=1, graph=target)
    check_self_test(session, bundle)
    return Opened.of(bundle, session)


def _write_operators(folder: Path) -> None:
    """Write the list that `--include_ops_by_config` of ONNX Runtime's build takes."""
    target = folder / OPERATORS
    with _unlogged():
        from onnxruntime.tools.ort_format_model import create_config_from_models

        create_config_from_models(sorted(folder.glob(f"*{ORT_SUFFIX}")), target, True)
    content = target.read_text(encoding="utf-8").replace(f"{folder}/", "")  # its comments name the files by path
    target.write_text(content, encoding="utf-8")


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Keep the tools of ONNX Runtime, which set up logging of their own and leave files open, from telling of it."""
    root = logging.getLogger()
    handlers, level, disabled = root.handlers[:], root.level, root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.disable(disabled)


def _manifest(old: Manifest, precisions: list[str]) -> Manifest:
    """Return the manifest of a folder: graphs by their new names, and the precisions for CPUs alone."""
    pool = tuple(
        entry if entry.executor == DAN_EXECUTOR else dataclasses.replace(entry, file=f"{entry.precision}{ORT_SUFFIX}")
        for entry in old.pool
        if entry.executor == DAN_EXECUTOR or entry.precision in precisions
    )
    return dataclasses.replace(old, pool=pool, files={})


def _copy_others(bundle: Bundle, folder: Path, manifest: Manifest) -> None:
    """Copy the files that a client reads, and write the settings that some tokenizers ask for."""
    names = {TOKENIZER, TOKEN_VECTORS} | {entry.file for entry in manifest.pool if entry.executor == DAN_EXECUTOR}
    for name in sorted(names & bundle.manifest.files.keys()):
        (folder / name).write_bytes((bundle.path / name).read_bytes())
    kept = {one.precision for one in manifest.pool}
    arrays = {name: array for name, array in read_self_test(bundle).items() if _is_kept(name, kept)}
    np.savez_compressed(folder / SELF_TEST, allow_pickle=False, **arrays)
    settings = tokenizer_settings(json.loads((bundle.path / TOKENIZER).read_bytes()), manifest)
    content = json.dumps(settings, ensure_ascii=False, indent=1) + "\n"
    (folder / TOKENIZER_CONFIG).write_text(content, encoding="utf-8")


def _is_kept(array: str, precisions: set[str]) -> bool:
    parts = array.split(".")
    return parts[0] != "logits" or parts[1] in precisions


ROLES = {
    "[UNK]": "unk_token", "[SEP]": "sep_token", "[PAD]": "pad_token", "[CLS]": "cls_token", "[MASK]": "mask_token",
    "<unk>": "unk_token", "</s>": "eos_token", "<pad>": "pad_token", "<s>": "bos_token", "<mask>": "mask_token",
}  # fmt: skip
"""Special token -> its name in a tokenizer_config.json."""


def tokenizer_settings(tokenizer: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
    """Return the contents of tokenizer_config.json, for libraries that take no tokenizer.json alone.

    All that makes tokens is in tokenizer.json; this has names of special tokens and the length of the model.
    """
    added = [one["content"] for one in tokenizer.get("added_tokens", []) if one.get("special")]
    names = {ROLES[content]: content for content in added if content in ROLES}
    normalizer = tokenizer.get("normalizer") or {}
    lower = {"do_lower_case": normalizer["lowercase"]} if "lowercase" in normalizer else {}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": manifest.max_length,
        "model_input_names": list(manifest.inputs),
        "clean_up_tokenization_spaces": False,
        **lower,
        **dict(sorted(names.items())),
    }


def _write_vectors(opened: Mapping[str, Opened], written: Bundle, folder: Path, progress: Progress) -> None:
    """Write the vectors of a folder, by its own graphs."""
    folder.mkdir()
    texts = make_text_vectors(opened, progress)
    write_text_vectors(folder, written, texts, refusals(next(iter(opened.values()))))
    write_decision_vectors(folder, make_decision_vectors())
    for one in opened.values():
        one.session.close()
