"""The page for new users: its commands run, in its order, and what it names exists."""

from __future__ import annotations

import platform
import re
import shlex
from pathlib import Path

import pytest

from gearshift.__main__ import parse
from gearshift.runtime.profiles.own import own_path
from gearshift.runtime.profiles.store import this_device
from tests.command_line import Command

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "measure.md"
TEXT = PAGE.read_text(encoding="utf-8")
LINES = [
    shlex.split(line, comments=True)[1:]
    for block in re.findall(r"^```bash\n(.*?)^```", TEXT, re.M | re.S)
    for line in block.splitlines()
    if line.startswith("gearshift ")
]
OPTIONS = re.findall(r"`(--[^`]+)`", TEXT)


def test_the_path_is_doctor_bench_run_and_a_profile_to_send() -> None:
    assert [words[0] for words in LINES] == ["doctor", "bench", "run", "bench"]


@pytest.mark.parametrize("options", OPTIONS)
def test_every_option_that_it_names_is_one_of_bench(options: str) -> None:
    assert callable(parse(["bench", "bundle", *shlex.split(options)]).command)


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(path: str) -> None:
    assert (PAGE.parent / path).exists()


def test_a_new_user_gets_from_the_doctor_to_an_answer(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of the page as they stand, but for a shorter budget and another place for files."""
    monkeypatch.setenv("GEARSHIFT_PROFILE_DIR", str(tmp_path / "profiles"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    doctor, bench, run, send = LINES
    assert command(*doctor).code in (0, 3)
    assert command(*bench, "--budget", "3s").code == 0
    assert (tmp_path / "report.html").is_file()
    assert own_path(this_device()).is_file()
    answered = command(*run)
    assert answered.code == 0
    assert answered.out.startswith("lights_off")
    assert "none of this device" not in command("doctor").out
    assert command(*send, "--budget", "3s").code == 0
    profile = (tmp_path / "my-board.json").read_text(encoding="utf-8")
    assert this_device().cpu_model in profile
    assert not any(own in profile for own in (platform.node(), str(ROOT), str(tmp_path)))
