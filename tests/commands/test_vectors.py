"""`gearshift vectors`, and `verify --vectors`, which finds what differs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.command_line import Command


def test_verify_finds_again_what_vectors_wrote(command: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "vectors"
    ended = command("vectors", tiny_bundle, "-o", folder, "--json")
    assert (ended.code, ended.err) == (0, "")
    texts = json.loads((folder / "texts.json").read_bytes())
    decisions = json.loads((folder / "decisions.json").read_bytes())
    steps = sum(len(scenario["steps"]) for scenario in decisions["scenarios"])
    counted = {"texts": len(texts["texts"]), "decisions": steps}
    assert ended.json == {"bundle": str(tiny_bundle), **counted, "refused": len(texts["refused"])}
    verified = command("verify", tiny_bundle, "--vectors", folder)
    assert (verified.code, verified.err) == (0, "")
    assert f"{counted['texts']} texts and {steps} decisions as in {folder}" in verified.out
    assert command("verify", tiny_bundle, "--vectors", folder, "--json").json["vectors"] == counted

    texts["texts"][0]["ids"][1] += 1
    (folder / "texts.json").write_text(json.dumps(texts))
    differing = command("verify", tiny_bundle, "--vectors", folder)
    assert differing.code == 1
    assert "other tokens" in differing.err and differing.err.count("\n") == 1


def test_a_folder_that_cannot_be_made_or_read_is_one_line(command: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments in (("vectors", "-o"), ("verify", "--vectors")):
        ended = command(arguments[0], tiny_bundle, arguments[1], tmp_path / "file")
        assert ended.code == 1
        assert ended.err.count("\n") == 1 and str(tmp_path / "file") in ended.err
