"""Bundles that passed the checks are remembered by their contents; a trial runs in a process of its own."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gearshift.errors import BundleError, InputError, SchemaError, StorageError
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.engine import Engine
from gearshift.runtime.files.known import REMEMBERED, Known
from gearshift.runtime.graph import check
from gearshift.runtime.inference import session, tokenizer_file
from gearshift.runtime.inference.self_test import checked_encoder
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.trust import trial
from gearshift.runtime.trust.trust import TRIED, trusted
from tests.runtime.altered import change_manifest


@pytest.fixture
def known(tmp_path: Path) -> Known:
    return Known(tmp_path / "cache")


def counted(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[Any]:
    """The calls of a step of the checks, which is made all the same."""
    made: list[Any] = []
    step: Callable[..., Any] = getattr(module, name)

    def counting(*arguments: Any) -> Any:
        made.append(arguments)
        return step(*arguments)

    monkeypatch.setattr(module, name, counting)
    return made


def use(bundle: Bundle) -> None:
    """Open all that a bundle holds, as engines do."""
    for precision in bundle.precisions:
        ElasticSession(bundle, precision, threads=1).close()
    checked_encoder(bundle)


def test_contents_are_checked_once(bundle: Bundle, known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = counted(monkeypatch, check, "check_content")
    tokenizers = counted(monkeypatch, tokenizer_file, "check_parts")
    for _ in range(2):
        use(trusted(bundle, known))
    assert len(graphs) == len(bundle.precisions)
    assert len(tokenizers) == 1


def test_what_is_not_used_is_not_checked(bundle: Bundle, known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = counted(monkeypatch, check, "check_content")
    for precision in ("fp32", "fp32", "int8"):
        ElasticSession(trusted(bundle, known), precision, threads=1).close()
    assert len(graphs) == 2


def test_other_contents_are_checked_again(bundle: Bundle, bundle_copy: Path, known: Known) -> None:
    use(trusted(bundle, known))
    (bundle_copy / "int8.onnx").write_bytes(b"no graph")
    change_manifest(bundle_copy)
    for _ in range(2):
        with pytest.raises(SchemaError, match=r"int8\.onnx: expected a graph"):
            use(trusted(open_bundle(bundle_copy), known))


def test_the_library_never_sees_a_graph_before_it_is_checked(
    bundle_copy: Path, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = counted(monkeypatch, session, "open_session")
    (bundle_copy / "fp32.onnx").write_bytes(b"no graph")
    change_manifest(bundle_copy)
    with pytest.raises(SchemaError):
        ElasticSession(trusted(open_bundle(bundle_copy), known), "fp32", threads=1)
    assert not opened


def test_without_a_memory_contents_are_checked_every_time(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = counted(monkeypatch, check, "check_content")
    for _ in range(2):
        use(trusted(bundle, None))
    assert len(graphs) == 2 * len(bundle.precisions)


@pytest.mark.parametrize("content", ["", "{", "{}", "3", "[1]", "[" * 1000, "null"])
def test_a_damaged_memory_knows_nothing(bundle: Bundle, tmp_path: Path, content: str) -> None:
    (tmp_path / "known.json").write_text(content)
    memory = Known(tmp_path)
    assert not memory.has("x")
    memory.add("x")
    assert memory.has("x")


def test_a_memory_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    memory = Known(tmp_path / "file" / "below")
    memory.add("x")
    assert not memory.has("x")


def test_a_memory_that_others_can_write_knows_nothing(tmp_path: Path) -> None:
    memory = Known(tmp_path / "cache")
    memory.add("x")
    (tmp_path / "cache").chmod(0o777)
    memory.add("y")
    assert not memory.has("x") and not memory.has("y")
    (tmp_path / "cache").chmod(0o700)
    assert memory.has("x") and not memory.has("y")


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    memory = Known(tmp_path / "cache")
    memory.add("x")
    (tmp_path / "cache" / "known.json").rename(tmp_path / "elsewhere")
    (tmp_path / "cache" / "known.json").symlink_to(tmp_path / "elsewhere")
    assert not memory.has("x")


def test_the_oldest_are_forgotten(tmp_path: Path) -> None:
    memory = Known(tmp_path)
    for number in range(REMEMBERED + 1):
        memory.add(str(number))
    assert not memory.has("0")
    assert memory.has("1")


def test_a_bundle_is_tried_once(bundle: Bundle, known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = counted(monkeypatch, trial, "try_bundle")
    trusted(bundle, known)
    assert not trials
    for _ in range(2):
        trusted(bundle, known, TRIED)
    assert len(trials) == 1


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it ended its process by SIGSEGV"),
        ("import os; os.abort()", "it ended its process by SIGABRT"),
        ("raise MemoryError('of all')", "it ended its process with 1 .*MemoryError: of all"),
        ("while True: pass", "it took more than 2 s"),
    ],
)
def test_a_trial_that_ends_its_process_does_not_end_ours(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, told: str
) -> None:
    fault = tmp_path / "fault.py"
    fault.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c \"{code}\"\n")
    fault.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fault))
    monkeypatch.setattr(trial, "LIMIT_S", 1)
    with pytest.raises(BundleError, match=told) as said:
        trial.try_bundle(bundle)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("name", ["numpy", "json", "gearshift"])
def test_a_trial_imports_nothing_from_where_the_program_stands(
    bundle_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Which may be the bundle itself, whose author may have put a module beside its files."""
    module = f"open({str(tmp_path / 'ran')!r}, 'w').close()\nraise SystemExit(9)\n"
    (bundle_copy / f"{name}.py").write_text(module)
    monkeypatch.chdir(bundle_copy)
    trial.try_bundle(dataclasses.replace(open_bundle(bundle_copy), path=Path()))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("executable", ["/nowhere/python", None, ""])
def test_a_trial_that_cannot_start_is_told(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(StorageError, match="could not be tried in a process of its own"):
        trial.try_bundle(bundle)


def test_an_engine_takes_what_a_bundle_must_have_gone_through(tiny_bundle: Path) -> None:
    with Engine.load(tiny_bundle, threads=1, precision="fp32", trust=TRIED, sensors=False) as engine:
        assert engine.run("turn the lights off").label
    with pytest.raises(InputError, match="trust: expected checked or tried, got 'blindly'"):
        Engine.load(tiny_bundle, trust="blindly")
