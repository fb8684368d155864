"""Packages that gearshift and its extras need, as in the installed metadata from pyproject.toml."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from gearshift.errors import MissingExtraError

MODULES = {"scikit-learn": "sklearn", "optimum-onnx": "optimum.exporters.onnx", "pillow": "PIL"}
"""Package -> module, if their names differ."""

_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)\s*(\[(?P<includes>[^]]*)\])?\s*(?P<versions>[^;]*?)\s*"
    r"(;.*?\bextra\s*==\s*[\"'](?P<extra>[^\"']+)[\"'])?"
)
"""Pattern of a line such as `transformers<5.20,>=4.48; extra == "train"` (PEP 508)."""


def require(extra: str, *packages: str) -> None:
    """Raise MissingExtraError in one line if a package of an extra is not installed.

    `packages`: packages of the extra that are needed; all by default.
    """
    missing = [package for package in packages or requirements(extra) if not _installed(package)]
    if missing:
        raise MissingExtraError(
            f"this needs {', '.join(missing)}, which is not installed; run: pip install 'gearshift[{extra}]'"
        )


def requirements(extra: str | None = None) -> dict[str, str]:
    """Return package -> required versions, such as `>=1.26`, of gearshift itself or of an extra with those it includes.

    Empty if gearshift runs from its source without being installed: there is no metadata then.
    """
    lines = _installed_requirements() or _source_requirements()
    found: dict[str, str] = {}
    for line in lines:
        parts = _REQUIREMENT.fullmatch(line.strip())
        if parts is None or parts["extra"] != extra:
            continue
        if parts["name"] == "gearshift":
            for included in (parts["includes"] or "").split(","):
                found |= requirements(included.strip())
        else:
            found[parts["name"]] = parts["versions"]
    return found


def _installed_requirements() -> list[str]:
    """Return the requirement lines of the installed package; none where it is not installed."""
    import importlib.metadata  # only here: it would cost every start of an engine some milliseconds

    try:
        return importlib.metadata.requires("gearshift") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _source_requirements() -> list[str]:
    """Return the requirement lines of the checkout that this file is in; none where it is in no checkout."""
    import tomllib

    project_file = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if not project_file.is_file():
        return []
    project = tomllib.loads(project_file.read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    optional = [f'{line}; extra == "{extra}"' for extra, lines in extras.items() for line in lines]
    return [*project.get("dependencies", []), *optional]


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(MODULES.get(package, package.replace("-", "_"))) is not None
    except (ImportError, ValueError):  # an import hook that refuses it, or a module without a spec
        return False
