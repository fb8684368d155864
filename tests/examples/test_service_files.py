"""The unit for systemd and the Containerfile: their commands are ones that `gearshift serve` takes."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path

from gearshift.__main__ import parse
from gearshift.server.access import VARIABLE

FOLDER = Path(__file__).parents[2] / "examples" / "serve"
UNIT = (FOLDER / "gearshift.service").read_text(encoding="utf-8")
IMAGE = (FOLDER / "Containerfile").read_text(encoding="utf-8")


def test_the_unit_starts_a_server_that_this_version_has_and_waits_long_enough_for_its_end() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(UNIT)
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])
    options = parse(words)
    assert program.endswith("/bin/gearshift") and callable(options.command)
    assert service["Type"] == "notify"
    assert float(service["TimeoutStopSec"]) > options.grace_s
    more = re.search(r"add `(.*)` above", UNIT)
    assert more is not None and parse([*words, *shlex.split(more[1])]).host == "0.0.0.0"


def test_the_image_starts_a_server_that_asks_for_a_token() -> None:
    (command,) = re.findall(r"^CMD (\[.*\])$", IMAGE, re.M)
    program, *words = json.loads(command)
    options = parse(words)
    assert program.endswith("/bin/gearshift") and callable(options.command)
    assert options.host == "0.0.0.0" and VARIABLE in IMAGE
    assert f"EXPOSE {options.port}" in IMAGE and f":{options.port}/health/ready" in IMAGE
