"""Import of psutil, off the thread that loads an engine: it takes as long as a tenth of a load."""

from __future__ import annotations

import os
import threading
from typing import Any

LIMIT_S = 5.0
"""Longest wait for an import by another thread, in seconds: one that hangs must hold up neither a fork nor metrics."""


class ImportLock:
    """Lock of the import, which a fork waits for.

    A child that was made in the middle of an import by another thread could never import the module, nor end the wait
    for it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._forking = threading.local()

    def psutil(self) -> Any:
        """Return the module psutil; raises ImportError, also if another thread does not end its import."""
        if not self._lock.acquire(timeout=LIMIT_S):
            raise ImportError("psutil: expected its import by another thread to end")
        try:
            import psutil

            return psutil
        finally:
            self._lock.release()

    def before_fork(self) -> None:
        """Wait for an import by another thread, at most LIMIT_S."""
        self._forking.held = self._lock.acquire(timeout=LIMIT_S)

    def after_fork(self) -> None:
        """Let others import again."""
        if self._forking.held:
            self._forking.held = False
            self._lock.release()


_LOCK = ImportLock()
"""The one lock, since a process imports a module once."""

load_psutil = _LOCK.psutil

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_LOCK.before_fork, after_in_parent=_LOCK.after_fork, after_in_child=_LOCK.after_fork)
