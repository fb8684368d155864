"""Packages that gearshift and its extras need, as the installed metadata has them from pyproject.toml."""

from __future__ import annotations

import importlib.util
import re

from gearshift.errors import MissingExtraError

MODULES = {"scikit-learn": "sklearn", "optimum-onnx": "optimum.exporters.onnx"}
"""Package -> module, where it is not the same word."""

_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)\s*(\[(?P<includes>[^]]*)\])?\s*(?P<versions>[^;]*?)\s*"
    r"(;.*?\bextra\s*==\s*[\"'](?P<extra>[^\"']+)[\"'])?"
)
"""A line such as `transformers<5.20,>=4.48; extra == "train"` (PEP 508)."""


def require(extra: str, *packages: str) -> None:
    """Raise MissingExtraError in one line where a package of an extra is not installed.

    `packages`: those of the extra that are needed; all of them by default.
    """
    missing = [package for package in packages or requirements(extra) if not _installed(package)]
    if missing:
        raise MissingExtraError(
            f"this needs {', '.join(missing)}, which is not installed; run: pip install 'gearshift[{extra}]'"
        )


def requirements(extra: str | None = None) -> dict[str, str]:
    """Package -> versions asked for, such as `>=1.26`, by gearshift itself or by an extra with those it includes.

    Empty where gearshift runs from its source without being installed: then nothing says what it needs.
    """
    import importlib.metadata  # only here: it would cost every start of an engine some milliseconds

    try:
        lines = importlib.metadata.requires("gearshift") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
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


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(MODULES.get(package, package.replace("-", "_"))) is not None
    except (ImportError, ValueError):  # an import hook that refuses it, or a module without a spec
        return False
