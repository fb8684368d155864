"""`gearshift simulate`: policies on made-up traces and on logs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gearshift.__main__ import main
from gearshift.runtime import Engine


def test_policies_are_tried_on_a_made_up_trace_and_on_a_decision_log(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile, log = tmp_path / "profile.json", tmp_path / "log.jsonl"
    run = ["run", str(tiny_bundle), "turn the lights off", "--threads", "1", "--deadline-ms", "60000"]
    assert main([*run, "--save-profile", str(profile), "--log", str(log)]) == 0
    capsys.readouterr()
    simulate = ["simulate", str(tiny_bundle), "--profile", str(profile), "--json", "--seconds", "1"]
    assert main([*simulate, "--trace", "contention", "--policy", "gearshift,kalman"]) == 0
    made_up = json.loads(capsys.readouterr().out)
    assert list(made_up["policies"]) == ["gearshift", "kalman"]
    assert made_up["requests"] > 10
    assert all(0 < found["goodput_accuracy"] <= 1 for found in made_up["policies"].values())
    assert main([*simulate, "--trace", str(log)]) == 0
    replayed = json.loads(capsys.readouterr().out)
    assert (replayed["requests"], replayed["policies"]["gearshift"]["deadlines_met"]) == (1, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trace", "night"], "unknown trace 'night'"),
        (["--trace", "steady", "--policy", "best"], "--policy: expected some of gearshift, .*, got best"),
    ],
)
def test_a_trace_or_policy_that_there_is_not_is_one_line(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    profile = tmp_path / "profile.json"
    with Engine.load(tiny_bundle, threads=1) as engine:
        engine.save_profile(profile)
    assert main(["simulate", str(tiny_bundle), "--profile", str(profile), *arguments]) == 1
    assert re.search(message, capsys.readouterr().err)
