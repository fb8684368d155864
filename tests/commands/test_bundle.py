"""`gearshift inspect` and `verify`: what they show of a bundle, and what they find wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from gearshift.runtime import Bundle
from gearshift.runtime.packed.cache import PackedCache
from tests.command_line import Command
from tests.runtime.altered import change_manifest
from tests.runtime.kept import flip


def test_inspect_lists_labels_and_every_subnet_with_its_accuracies(
    command: Command, bundle: Bundle, tiny_bundle: Path
) -> None:
    ended = command("inspect", tiny_bundle)
    assert (ended.code, ended.err) == (0, "")
    assert all(label in ended.out for label in bundle.manifest.labels)
    rows = {line.split()[0]: line for line in ended.out.splitlines() if line.startswith("w")}
    assert list(rows) == list(bundle.pool("fp32"))
    for name, row in rows.items():
        shares = [f"{100 * bundle.entry(name, precision).accuracy:.1f} %" for precision in ("fp32", "int8")]
        assert row.endswith("  ".join(share.rjust(len("accuracy fp32")) for share in shares))
        assert f"{bundle.entry(name, 'fp32').parameters / 1e6:.3f} M" in row


def test_inspect_tells_the_rows_that_choose_from_those_that_report(
    command: Command, bundle: Bundle, tiny_bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "chosen.gearshift")
    pool = tuple(dataclasses.replace(entry, dev_accuracy=0.125) for entry in bundle.manifest.pool)
    change_manifest(tmp_path / "chosen.gearshift", pool=pool, chosen_by="dev", dev_rows=77)
    ended = command("inspect", tmp_path / "chosen.gearshift")
    assert (ended.code, ended.err) == (0, "")
    assert "accuracy on 1500 test rows; dev: on 77 other rows, by which the engine chooses" in ended.out
    rows = [line for line in ended.out.splitlines() if line.startswith("w")]
    assert rows and all(row.split()[-4:] == ["12.5", "%", "12.5", "%"] for row in rows)


def test_inspect_as_json_is_the_manifest_with_path_and_hash(
    command: Command, bundle: Bundle, tiny_bundle: Path
) -> None:
    ended = command("inspect", tiny_bundle, "--json")
    assert (ended.code, ended.err) == (0, "")
    expected = {
        "bundle": str(tiny_bundle),
        "hash": bundle.hash,
        "digest": bundle.digest,
        **bundle.manifest.to_dict(),
    }
    assert ended.json == json.loads(json.dumps(expected))


def test_verify_says_what_was_checked(command: Command, tiny_bundle: Path) -> None:
    ended = command("verify", tiny_bundle)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{tiny_bundle}: 8 files intact, 12 subnets right at fp32, 12 subnets right at int8\n"


def test_verify_removes_packed_weights_that_are_damaged(
    command: Command, bundle: Bundle, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    for precision in ("fp32", "int8"):
        session = PackedCache().open(bundle, precision, threads=1)
        assert session is not None
        session.close()
    assert "packed" not in command("verify", tiny_bundle).out
    for place in PackedCache().entries():
        flip(place / "graph.weights", 5)
    ended = command("verify", tiny_bundle)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[1:] == [
        f"packed weights of {precision} were damaged (block 0 has changed), and are removed"
        for precision in ("fp32", "int8")
    ]
    assert PackedCache().entries() == {}


def test_verify_needs_no_cache(
    command: Command, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path))
    tmp_path.chmod(0o777)
    assert command("verify", tiny_bundle).code == 0


def test_verify_as_json(command: Command, bundle: Bundle, tiny_bundle: Path) -> None:
    ended = command("verify", tiny_bundle, "--json")
    assert (ended.code, ended.err) == (0, "")
    expected = {
        "bundle": str(tiny_bundle),
        "hash": bundle.hash,
        "verified": True,
        "precisions": ["fp32", "int8"],
        "removed_packed": {},
    }
    assert ended.json == expected


def test_verify_finds_numbers_that_are_wrong(command: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    wrong = shutil.copytree(tiny_bundle, tmp_path / "wrong.gearshift")
    altered = bytearray((wrong / "fp32.weights").read_bytes())
    altered[: len(altered) // 2] = bytes(len(altered) // 2)
    (wrong / "fp32.weights").write_bytes(altered)
    change_manifest(wrong)
    assert "fp32 self-test, subnet w100-d100" in command("verify", wrong).error


@pytest.mark.parametrize("name", ["verify", "run"])
def test_a_bundle_whose_tokenizer_has_more_tokens_than_the_model_is_refused(
    command: Command, tiny_bundle: Path, tmp_path: Path, name: str
) -> None:
    wrong = shutil.copytree(tiny_bundle, tmp_path / "wrong.gearshift")
    tokenizer = Tokenizer.from_file(str(wrong / "tokenizer.json"))
    tokenizer.add_tokens(["<URL>"])
    tokenizer.save(str(wrong / "tokenizer.json"))
    change_manifest(wrong)
    ended = command(name, wrong, *(["the lights"] if name == "run" else []))
    assert "the first '<URL>'" in ended.error


@pytest.mark.parametrize("name", ["inspect", "verify", "run"])
def test_a_bundle_that_is_not_there_is_named(command: Command, tmp_path: Path, name: str) -> None:
    error = command(name, tmp_path / "nowhere").error
    assert error == (
        f"{tmp_path}/nowhere: expected a bundle directory, found no such directory; make one with `gearshift export`"
    )


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("name", ["inspect", "verify", "run"])
def test_a_truncated_file_is_named_with_both_sizes(
    command: Command, tiny_bundle: Path, tmp_path: Path, name: str, as_json: list[str]
) -> None:
    cut = shutil.copytree(tiny_bundle, tmp_path / "cut.gearshift")
    size = (cut / "int8.weights").stat().st_size
    os.truncate(cut / "int8.weights", size - 1)
    error = command(name, cut, *as_json).error
    assert error == f"{cut}/int8.weights: expected {size} bytes, found {size - 1}; copy the bundle again"
