"""Makes build/arm64: an emulator, and the files of an arm64 system with the runtime's dependencies.

    python -m tests.arm64.prepare

Everything is downloaded (some 130 MB) and unpacked; nothing is installed, so that no root is needed. Debian's
packages come through apt-get with a state of its own, from the sources that this machine has set up. A second call
does nothing.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.debian import prepared, private_apt, run

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "arm64"

PYTHON = "3.11"
SYSTEM = (
    *(f"python{PYTHON}-minimal", f"libpython{PYTHON}-minimal", f"libpython{PYTHON}-stdlib"),
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g"),
    *("libbz2-1.0", "libexpat1", "libffi8", "liblzma5", "libssl3"),  # of the standard library
)
"""Debian 12's packages. Their versions are not pinned: a mirror keeps the latest security update alone."""

EMULATOR = "qemu-user-static"
WHEELS = HERE / "wheels.txt"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")


def prepare(build: Path = BUILD) -> None:
    """Fill `build` with `qemu` (a program), `root` (the arm64 system) and `site` (its Python packages).

    Raises PrepareError where apt-get or the package index cannot give what is needed.
    """
    stamp = build / "stamp"
    if stamp.is_file() and stamp.read_text() == _pins():
        return
    shutil.rmtree(build, ignore_errors=True)
    scratch = build / "scratch"
    scratch.mkdir(parents=True)
    host = run("finding this machine's architecture", "dpkg", "--print-architecture").strip()
    _step("reading the lists of Debian's packages")
    apt = private_apt(scratch / "apt", architectures=("arm64", host))
    _step(f"downloading {EMULATOR} and {len(SYSTEM)} packages of an arm64 system")
    emulator, *packages = _packages(apt, scratch / "debs", (f"{EMULATOR}:{host}", *SYSTEM))
    _take_program(emulator, "./usr/bin/qemu-aarch64-static", build / "qemu")
    for package in packages:
        run(f"unpacking {package.name}", "dpkg-deb", "-x", str(package), str(build / "root"))
    _step("downloading the runtime's dependencies for arm64")
    for wheel in _wheels(scratch / "wheels"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(build / "site")
    shutil.rmtree(scratch)
    stamp.write_text(_pins())


def _pins() -> str:
    """Names what is unpacked: the two files that say what that is."""
    return hashlib.sha256(Path(__file__).read_bytes() + WHEELS.read_bytes()).hexdigest()


def _packages(apt: tuple[str, ...], place: Path, names: tuple[str, ...]) -> list[Path]:
    """The downloaded .deb files, in the order of the names."""
    place.mkdir()
    run("downloading Debian 12's packages", *apt, "download", *names, cwd=place)
    return [next(place.glob(f"{name.partition(':')[0]}_*.deb")) for name in names]


def _take_program(package: Path, member: str, target: Path) -> None:
    """One file out of a .deb that holds an emulator for every architecture."""
    archive = package.with_suffix(".tar")
    with archive.open("wb") as stream:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=stream, check=True)
    with tarfile.open(archive) as files, target.open("wb") as program:
        content = files.extractfile(member)
        assert content is not None
        shutil.copyfileobj(content, program)
    target.chmod(0o755)


def _wheels(place: Path) -> list[Path]:
    platforms = (word for platform in PLATFORMS for word in ("--platform", platform))
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    kind = ("--only-binary=:all:", "--python-version", PYTHON, *platforms)
    run("downloading wheels for arm64", *pip, *kind, "-d", str(place), "-r", str(WHEELS))
    return sorted(place.glob("*.whl"))


def _step(text: str) -> None:
    print(f"arm64: {text}", flush=True)


def main() -> int:
    """0, or 1 and one line that says what is missing."""
    return prepared("arm64", BUILD, lambda: prepare())


if __name__ == "__main__":
    sys.exit(main())
