"""Debian's packages, downloaded and unpacked for tests: nothing is installed, so that no root is needed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

APT = """\
Dir::State "{place}";
Dir::State::status "{status}";
Dir::Cache "{place}";
{architectures}
APT::Sandbox::User "";
Acquire::Languages "none";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""
"""Keeps apt-get out of the system's own lists, and its hooks from being run."""

ROOT = Path(__file__).parents[1]

INSTALLED = Path("/var/lib/dpkg/status")
"""List of what this machine has installed."""


class PrepareError(Exception):
    """Error that says what is missing, in one line."""


def private_apt(place: Path, *, status: Path | None = None, architectures: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The start of an apt-get command with a state of its own in `place`, its lists read from this machine's sources.

    `status`: what counts as installed, by default nothing. `architectures`: the first is the one that names mean.
    Raises PrepareError.
    """
    for folder in ("lists/partial", "archives/partial"):
        (place / folder).mkdir(parents=True)
    if status is None:
        status = place / "status"
        status.touch()
    lines = ""
    if architectures:
        names = " ".join(f'"{name}";' for name in architectures)
        lines = f'APT::Architecture "{architectures[0]}";\n#clear APT::Architectures;\n'
        lines += f"APT::Architectures {{ {names} }};"
    settings = place / "apt.conf"
    settings.write_text(APT.format(place=place, status=status, architectures=lines))
    apt = ("apt-get", "--quiet", "-c", str(settings))
    run("reading the lists of Debian's packages", *apt, "update")
    return apt


def run(purpose: str, *command: str, cwd: Path | None = None) -> str:
    """Return what the command prints; raises PrepareError with the last line of its complaint."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PrepareError(f"{purpose}: found no {command[0]}; expected Debian 12, which has it") from error
    if done.returncode:
        complaint = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise PrepareError(f"{purpose}: {command[0]}: {complaint[-1]}; expected Debian 12 and its package index")
    return done.stdout


def prepared(name: str, build: Path, prepare: Callable[[], None]) -> int:
    """Run what fills `build`: 0, or 1 and one line that says what is missing."""
    began = time.perf_counter()
    try:
        prepare()
    except (PrepareError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    print(f"{name}: {build.relative_to(ROOT)} is ready ({time.perf_counter() - began:.0f} s)")
    return 0
