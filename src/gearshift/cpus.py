"""CPUs that this process may use. Standard library only."""

from __future__ import annotations

import os


def available_cpus() -> frozenset[int]:
    """Return the CPUs that this process may be scheduled on; all of them if the system has no affinity sets."""
    try:
        return frozenset(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return frozenset(range(os.cpu_count() or 1))
