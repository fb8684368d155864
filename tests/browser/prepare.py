"""Makes build/browser: Chromium and its driver, for the tests of pages.

    python -m tests.browser.prepare

Debian's packages and those of what they need that this machine lacks (some 130 MB) are downloaded and unpacked; nothing
is installed, so that no root is needed. A second call does nothing.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from tests.debian import INSTALLED, prepared, private_apt, run

BUILD = Path(__file__).parents[2] / "build" / "browser"

PACKAGES = ("chromium", "chromium-driver", "fonts-dejavu-core")
"""Debian 12's; their versions are not pinned: a mirror keeps the latest security update alone."""


def prepare(build: Path = BUILD) -> None:
    """Fill `build` with `root`, where the packages are unpacked; raises PrepareError."""
    stamp = build / "stamp"
    if stamp.is_file() and stamp.read_text() == _pins():
        return
    shutil.rmtree(build, ignore_errors=True)
    scratch = build / "scratch"
    scratch.mkdir(parents=True)
    _step("reading the lists of Debian's packages")
    apt = private_apt(scratch / "apt", status=INSTALLED)
    _step(f"downloading {', '.join(PACKAGES)} and what they need")
    kinds = ("--yes", "--download-only", "--no-install-recommends", "--reinstall", "-o", "Debug::NoLocking=1")
    run("downloading Debian 12's packages", *apt, *kinds, "install", *PACKAGES)
    for package in sorted((scratch / "apt" / "archives").glob("*.deb")):
        run(f"unpacking {package.name}", "dpkg-deb", "-x", str(package), str(build / "root"))
    shutil.rmtree(scratch)
    stamp.write_text(_pins())


def environment(build: Path = BUILD) -> dict[str, str]:
    """Return what Chromium needs to find the libraries and fonts that were unpacked."""
    libraries = sorted({str(path.parent) for path in (build / "root").rglob("*.so*") if "chromium" not in path.parts})
    return {"LD_LIBRARY_PATH": ":".join(libraries), "HOME": str(build), "LANG": "C.UTF-8"}


def _pins() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _step(text: str) -> None:
    print(f"browser: {text}", flush=True)


def main() -> int:
    """0, or 1 and one line that says what is missing."""
    return prepared("browser", BUILD, lambda: prepare())


if __name__ == "__main__":
    sys.exit(main())
