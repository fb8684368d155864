"""`gearshift trim`: a smaller bundle that verifies and answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gearshift.runtime import open_bundle
from tests.command_line import Command

TEXT = "turn the lights off"


def test_trim_writes_a_bundle_that_verifies_and_answers(command: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "smaller.gearshift"
    ended = command("trim", tiny_bundle, "-o", out, "--keep", "w025-d050, w050-d050", "--precision", "int8")
    assert (ended.code, ended.err) == (0, "")
    assert re.match(rf"{re.escape(str(out))}: written and verified, 0\.\d MB of 0\.5 MB\n", ended.out)
    assert [line.split()[0] for line in ended.out.splitlines()[2:]] == ["w050-d050", "w025-d050"]
    verified = command("verify", out)
    assert verified.out == f"{out}: 6 files intact, 2 subnets right at int8\n"
    ran = command("run", out, "--threads", 1, "--subnet", "w025-d050", TEXT)
    assert (ran.code, ran.out.split()[0]) == (0, "lights_off")


def test_trim_to_a_size_as_json_describes_what_was_written(command: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "smaller.gearshift"
    ended = command("trim", tiny_bundle, "-o", out, "--max-mb", 0.3, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.json["hash"] == open_bundle(out).hash
    assert sum(path.stat().st_size for path in out.iterdir()) <= 300_000


def test_trim_to_a_size_that_nothing_has_ends_in_one_line(command: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "smaller.gearshift"
    error = command("trim", tiny_bundle, "-o", out, "--max-mb", 0.001).error
    assert error.startswith("trim: no subnet fits into 0.001 MB; expected 0.")
    assert not out.exists()


@pytest.mark.parametrize("given", [(), ("--keep", "w050-d050", "--max-mb", "1"), ("--max-mb", "much")])
def test_trim_wants_either_names_or_a_size(
    command: Command, tiny_bundle: Path, tmp_path: Path, given: tuple[str, ...]
) -> None:
    ended = command("trim", tiny_bundle, "-o", tmp_path / "out", *given)
    assert ended.code == 2
    assert "--max-mb" in ended.err
