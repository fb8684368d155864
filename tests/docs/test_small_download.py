"""The commands around compressed bundles, which are used as any other is."""

import json
from pathlib import Path

import pytest

from examples.demo.commands import generate, write
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.bundle.compressed import COMPRESSED, SUFFIX, write_compressed
from tests.command_line import Command
from tests.commands.test_main import TEXT
from tests.data.make_tiny_bundle import make_checkpoint


@pytest.fixture
def small(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle, compressed."""
    out = tmp_path / "small.gearshift"
    out.mkdir()
    write_compressed(tiny_bundle, open_bundle(tiny_bundle).manifest.files, out, {})
    return out


FEW_STEPS = ["--max-length", 32, "--importance-rows", 32, "--widths", "1,.5", "--depths", "1,.5"]
FEW_STEPS += ["--teacher-epochs", 1, "--width-epochs", 1, "--depth-epochs", 1]


def test_a_training_becomes_a_pruned_bundle_with_few_words_for_the_download(command: Command, tmp_path: Path) -> None:
    """Train, prune, export, verify, inspect, run, trim and unpack, as one would type it."""
    texts = [row.text for row in generate(train=300, dev=30, test=60)["train"]]
    make_checkpoint(tmp_path / "model", texts, labels=30)
    splits = generate(train=60, dev=30, test=30)
    write(tmp_path / "data", splits)
    (tmp_path / "kept.txt").write_text("\n".join(row.text for row in splits["dev"]))
    run, pruned, small, plain = (tmp_path / name for name in ("run", "pruned", "small.gearshift", "plain.gearshift"))
    given = ("--data", tmp_path / "data", "--model", tmp_path / "model", "-o", run)
    trained = command("train", *given, *FEW_STEPS)
    assert trained.code == 0, trained.err
    found = command("prune", run, "-o", pruned, "--sparsity", 0.5, "--embeddings", "--epochs", 1, "--json")
    assert found.code == 0, found.err
    assert found.json["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert [subnet["name"] for subnet in found.json["subnets"]] == ["w100-d100", "w050-d100", "w100-d050", "w050-d050"]

    asked = ("--precision", "int8", "--vocabulary", f"train,{tmp_path / 'kept.txt'}", "--compress", "--json")
    exported = command("export", pruned, "-o", small, *asked)
    assert exported.code == 0, exported.err
    spelling = exported.json["vocabulary"]
    assert spelling["kept"] < spelling["of"] and spelling["texts"] == 30
    assert exported.json["space"]["shape"]["vocabulary"] == spelling["kept"]
    assert exported.json["compressed_bytes"] == sum(path.stat().st_size for path in small.iterdir())

    assert command("verify", small).code == 0
    assert " MB compressed, " in command("inspect", small).out
    assert command("unpack", small, "-o", plain).code == 0
    assert open_bundle(plain).hash == open_bundle(small).hash
    assert exported.json["compressed_bytes"] < 0.8 * sum(path.stat().st_size for path in plain.iterdir())
    wanted = ("--subnet", "w050-d050", "--threads", 1, "--json", *texts[:5])
    answers = [
        [(answer["label"], answer["scores"]) for answer in command("run", bundle, *wanted).json["answers"]]
        for bundle in (plain, small)
    ]
    assert answers[0] == answers[1]
    assert command("trim", small, "-o", tmp_path / "tiny.gearshift", "--keep", "w050-d050", "--compress").code == 0
    assert command("verify", tmp_path / "tiny.gearshift").code == 0


def test_a_compressed_bundle_is_inspected_verified_and_run(command: Command, small: Path, tiny_bundle: Path) -> None:
    inspected = command("inspect", small)
    assert inspected.out.startswith(f"{small}: classification, ")
    assert " MB compressed, 0.5 MB unpacked, " in inspected.out
    described = command("inspect", small, "--json").json
    assert described["bundle"] == str(small)
    assert described["compressed_bytes"] == sum(path.stat().st_size for path in small.iterdir())
    plain = command("inspect", tiny_bundle, "--json").json
    assert {**described, "bundle": str(tiny_bundle)} == {**plain, "compressed_bytes": described["compressed_bytes"]}
    assert command("verify", small).out.startswith(f"{small}: 8 files intact, 12 subnets right at fp32")
    ran = command("run", small, "--threads", 1, "--subnet", "w050-d050", "--precision", "int8", TEXT)
    assert (ran.code, ran.out.split()[0]) == (0, "lights_off")


def test_trim_compresses_what_it_writes(command: Command, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "smaller.gearshift"
    ended = command("trim", small, "-o", out, "--keep", "w050-d050", "--compress")
    assert (ended.code, ended.err) == (0, "")
    assert "MB compressed" in ended.out.splitlines()[0]
    assert (out / COMPRESSED).is_file()
    assert command("verify", out).code == 0
    assert {entry["name"] for entry in command("inspect", out, "--json").json["pool"]} == {"w050-d050"}


def test_unpack_writes_the_plain_bundle(command: Command, small: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.gearshift"
    ended = command("unpack", small, "-o", plain)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"{plain}: written and verified, 0.5 MB out of 0.")
    for path in tiny_bundle.iterdir():
        assert (plain / path.name).read_bytes() == path.read_bytes()
    assert command("unpack", tiny_bundle, "-o", tmp_path / "x").error.startswith(
        f"{tiny_bundle}: expected a compressed bundle, found no compressed.json in it"
    )


def test_a_download_that_was_cut_off_ends_in_one_line(command: Command, small: Path) -> None:
    path = small / f"int8.weights{SUFFIX}"
    path.write_bytes(path.read_bytes()[:-1])
    for name in ("inspect", "verify", "run"):
        error = command(name, small, *([TEXT] if name == "run" else [])).error
        size = json.loads((small / COMPRESSED).read_text())["files"][path.name]["bytes"]
        assert error == f"{path}: expected {size} bytes, found {size - 1}; copy the bundle again"


def test_clear_cache_removes_what_was_unpacked(
    command: Command, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    opened = open_bundle(small)
    ended = command("doctor", "--clear-cache")
    (freed,) = [line for line in ended.err.splitlines() if f"{tmp_path / 'cache' / 'unpacked'}: " in line]
    assert freed.endswith(" MB freed")
    assert not opened.path.exists()
    assert f"{tmp_path / 'cache' / 'unpacked'}: empty" in ended.out
