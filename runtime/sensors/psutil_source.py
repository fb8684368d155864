"""Import of psutil, off the thread that loads an engine: it takes as long as a tenth of a load."""

from __future__ import annotations

import os
import threading
from typing import Any

_IMPORTING = threading.RLock()
"""Lock of the import. A fork waits for it: a child that was made in the middle of an import by another thread could
never import the module, nor end the wait for it."""


def load_psutil() -> Any:
    """Return the module psutil; raises ImportError, and whatever its versions raise where /proc is forbidden."""
    with _IMPORTING:
        import psutil

        return psutil


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_IMPORTING.acquire, after_in_parent=_IMPORTING.release, after_in_child=_IMPORTING.release
    )
