"""Two environments in build/transformers, with the oldest and with the newest transformers that the trainer allows.

    python -m tests.versions.prepare

Each has that package and what it needs in other versions; torch and all else comes from the environment that runs this.
Needs the Python package index, once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

from gearshift.extras import requirements

FOLDER = Path(__file__).parents[2] / "build" / "transformers"
READY = "ready"
"""File of a finished environment: what it was made from."""


def ends(versions: str) -> dict[str, str]:
    """Return name of an end -> requirement, from the allowed versions, such as `>=4.48,<5.20`."""
    bounds = [bound.strip() for bound in versions.split(",")]
    (oldest,) = (bound.removeprefix(">=") for bound in bounds if bound.startswith(">="))
    (above,) = (bound for bound in bounds if bound.startswith("<"))
    return {"oldest": f"transformers=={oldest}", "newest": f"transformers{above}"}


def main() -> None:
    """Make the environments that are missing, or were made from something else."""
    for name, requirement in ends(requirements("train")["transformers"]).items():
        place = FOLDER / name
        # The environment below counts too: with another torch, transformers may need others of its packages.
        made_from = f"{requirement} {sys.prefix} {sys.version} {version('torch')} {version('transformers')}\n"
        ready = place / READY
        if ready.is_file() and ready.read_text() == made_from:
            continue
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        python = place / "bin" / "python"
        _look_into(python, Path(sysconfig.get_path("purelib")))
        # Thousands of its modules are never imported: those that are get compiled then.
        install = [str(python), "-m", "pip", "install", "--no-compile", "--quiet", "--disable-pip-version-check"]
        # It complains of optimum and datasets, which no test here uses, and which want older packages.
        subprocess.run([*install, "--upgrade", requirement], check=True)
        found = [str(python), "-c", "import transformers; print(transformers.__version__)"]
        told = subprocess.run(found, check=True, capture_output=True, text=True).stdout.strip()
        print(f"{place}: transformers {told}")
        ready.write_text(made_from)


def _look_into(python: Path, packages: Path) -> None:
    """Let an environment import the packages of another one, behind its own."""
    where = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    (own / "below.pth").write_text(f"import site; site.addsitedir({str(packages)!r})\n")


if __name__ == "__main__":
    main()
