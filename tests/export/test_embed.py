"""The folder that an app ships: graphs in ORT format give the same numbers, and all that a client reads is there."""

import dataclasses
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.errors import InputError, SchemaError, SelfTestError, StorageError
from gearshift.export.embed import embed_bundle, tokenizer_settings
from gearshift.runtime import Engine
from gearshift.runtime.bundle.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.bundle.manifest import SELF_TEST, Manifest
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from tests.clients.dans import write_dans
from tests.command_line import Command


@pytest.fixture(scope="module")
def folder(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embed_bundle(bundle, tmp_path_factory.mktemp("embed") / "app").path


def test_there_is_one_file_for_each_precision_and_all_that_a_client_reads(folder: Path) -> None:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {
        *("manifest.json", "fp32.ort", "int8.ort", "tokenizer.json", "tokenizer_config.json", "selftest.npz"),
        *("selftest.json", "required_operators.config", "latencies.json", "vectors/texts.json"),
        "vectors/decisions.json",
    }
    manifest = open_bundle(folder).manifest
    assert {(entry.precision, entry.file) for entry in manifest.pool} == {("fp32", "fp32.ort"), ("int8", "int8.ort")}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_subnet_gives_the_numbers_of_the_bundle_bit_for_bit(bundle: Bundle, folder: Path, precision: str) -> None:
    plain = ElasticSession(bundle, precision, threads=1)
    embedded = ElasticSession(bundle, precision, threads=1, graph=folder / f"{precision}.ort")
    inputs = random_inputs(bundle, 12, seed=1)
    for entry in bundle.pool(precision).values():
        assert np.array_equal(plain.run(inputs, entry.choice), embedded.run(inputs, entry.choice))


def test_the_vectors_are_those_of_the_folder(folder: Path) -> None:
    texts = json.loads((folder / "vectors" / "texts.json").read_text(encoding="utf-8"))
    assert texts["digest"] == open_bundle(folder).digest
    assert {precision for text in texts["texts"] for precision in text["precisions"]} == {"fp32", "int8"}


def test_the_operators_are_listed_with_their_types_and_no_path(folder: Path) -> None:
    lines = (folder / "required_operators.config").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["# Generated from model/s:", "# - fp32.ort", "# - int8.ort"]
    assert any(line.startswith("com.microsoft;1;") and "QAttention" in line for line in lines)
    assert any('MatMul{"inputs": {"0": ["float"]}}' in line for line in lines)


def test_making_a_folder_leaves_logging_as_it_was(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    handlers, level = logging.root.handlers[:], logging.root.level
    embed_bundle(bundle, tmp_path / "app")
    assert (logging.root.handlers, logging.root.level, logging.root.manager.disable) == (handlers, level, 0)
    assert not caplog.records


def test_settings_of_the_tokenizer_name_its_special_tokens(bundle: Bundle) -> None:
    tokenizer = {"added_tokens": [{"content": "<s>", "special": True}, {"content": "x", "special": False}]}
    made = tokenizer_settings(tokenizer, bundle.manifest)
    assert made["bos_token"] == "<s>"
    assert made["model_max_length"] == 32
    assert "do_lower_case" not in made
    assert tokenizer_settings({"normalizer": {"lowercase": True}}, bundle.manifest)["do_lower_case"] is True


def _changed(bundle: Bundle, target: Path, arrays: Mapping[str, Any], manifest: Manifest | None = None) -> Bundle:
    """A copy of a bundle with arrays of its self-test changed or added, and with another manifest."""
    shutil.copytree(bundle.path, target, dirs_exist_ok=True)
    with np.load(target / SELF_TEST) as old:
        np.savez(target / SELF_TEST, allow_pickle=False, **({name: old[name] for name in old.files} | dict(arrays)))
    write_manifest(target, manifest or bundle.manifest)
    return open_bundle(target)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_graph_that_gives_other_numbers_than_the_bundle_states_is_refused_and_nothing_written(
    bundle: Bundle, tmp_path: Path, precision: str
) -> None:
    name = f"logits.{precision}.w050-d050"
    with np.load(bundle.path / SELF_TEST) as arrays:
        other = -arrays[name]
    changed = _changed(bundle, tmp_path / "bundle", {name: other})
    with pytest.raises(SelfTestError, match=precision):
        embed_bundle(changed, tmp_path / "app")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_the_self_test_of_the_folder_is_that_of_its_own_precisions(bundle: Bundle, tmp_path: Path) -> None:
    pool = bundle.manifest.pool
    for_gpus = tuple(
        dataclasses.replace(entry, precision="fp16", file="fp16.onnx") for entry in pool if entry.precision == "fp32"
    )
    logits = {f"logits.fp16.{entry.name}": np.zeros((1, 2), np.float32) for entry in for_gpus}
    shutil.copytree(bundle.path, tmp_path / "bundle")
    for kind in ("onnx", "weights"):
        shutil.copyfile(bundle.path / f"fp32.{kind}", tmp_path / "bundle" / f"fp16.{kind}")
    manifest = dataclasses.replace(bundle.manifest, pool=(*pool, *for_gpus))
    made = embed_bundle(_changed(bundle, tmp_path / "bundle", logits, manifest), tmp_path / "app")
    with np.load(made.path / SELF_TEST) as arrays, np.load(bundle.path / SELF_TEST) as own:
        assert set(arrays.files) == set(own.files)
        assert not [name for name in arrays.files if "fp16" in name]
    assert made.precisions == ("fp32", "int8")


def test_python_refuses_the_folder_and_names_the_way_out(folder: Path) -> None:
    with pytest.raises(SchemaError, match=r"fp32\.ort: .* for clients in other languages; open the bundle that"):
        Engine.load(folder, threads=1, precision="fp32", cache=False)


def test_a_dan_goes_along_with_its_vectors(bundle: Bundle, tmp_path: Path) -> None:
    write_dans(tmp_path, bundle.path)
    made = embed_bundle(open_bundle(tmp_path / "dan.gearshift"), tmp_path / "app")
    assert (made.path / "dan.safetensors").read_bytes() == (tmp_path / "dan.gearshift" / "dan.safetensors").read_bytes()
    texts = json.loads((made.path / "vectors" / "texts.json").read_text(encoding="utf-8"))["texts"]
    assert {"dan", "w025-d050"} <= texts[0]["precisions"]["int8"].keys()


def test_a_bundle_for_gpus_alone_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    pool = tuple(dataclasses.replace(entry, precision="fp16") for entry in bundle.manifest.pool[:1])
    for_gpus = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, pool=pool))
    with pytest.raises(InputError, match=r"expected a graph for CPUs, found fp16; export fp32$"):
        embed_bundle(for_gpus, tmp_path / "app")


def test_nothing_but_an_older_folder_is_replaced(
    command: Command, bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "manifest.json").write_text("{}")  # of an app in a browser
    shutil.copytree(bundle.path, tmp_path / "bundle")
    shutil.copytree(folder, tmp_path / "app")
    for name in ("page", "bundle"):
        assert name in command("embed", bundle.path, "-o", tmp_path / name).error
        with pytest.raises(StorageError, match=r"is not empty and has no required_operators\.config"):
            embed_bundle(open_bundle(tmp_path / "bundle"), tmp_path / name)
    assert open_bundle(tmp_path / "bundle").precisions == bundle.precisions
    assert command("embed", bundle.path, "-o", tmp_path / "app").code == 0


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (["fp32.ort", "required_operators.config"], r"no manifest\.json"),
        (["manifest.json", "model.onnx", "required_operators.config"], r"'model\.onnx'"),
    ],
)
def test_a_folder_with_a_list_of_operators_and_models_of_another_program_stays(
    bundle: Bundle, tmp_path: Path, there: list[str], told: str
) -> None:
    for name in there:
        (tmp_path / name).write_text("mine")
    with pytest.raises(StorageError, match=rf"expected a folder of `gearshift embed`, found {told}"):
        embed_bundle(bundle, tmp_path)
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == dict.fromkeys(there, "mine")


def test_a_latency_table_stays_when_its_folder_is_written_anew(bundle: Bundle, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "app")
    (tmp_path / "app" / "latencies.json").write_text("measured")
    embed_bundle(bundle, tmp_path / "app")
    assert (tmp_path / "app" / "latencies.json").read_text() == "measured"


def test_a_folder_is_made_without_torch() -> None:
    asked = "import sys, gearshift.export.embed; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


def test_the_command_says_what_it_wrote(command: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    ended = command("embed", tiny_bundle, "-o", tmp_path / "app")
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"{tmp_path / 'app'}: written and verified, 0.8 MB: fp32.ort, int8.ort")
