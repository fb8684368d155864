"""Check of a whole entry of packed weights while its session answers, on a thread that hardly shows.

It begins a minute after the session was opened, reads 2 MB a second, and then rests for a day.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from gearshift.runtime.packed.entry import KeptFile, opened, require_block

FIRST_S = 60.0
"""Seconds from the opening of a session to the first check: a start-up has other things to do."""

AGAIN_S = 86_400.0
"""Seconds from one check to the next."""

PAUSE_S = 0.125
"""Seconds between two blocks."""

PATIENCE_S = 5.0
"""Longest wait at `close`; a block takes some milliseconds, unless a disk hangs."""

Wait = Callable[[threading.Event, float], bool]
"""Function that waits for an event so many seconds, and returns whether it came."""


class PackedWatch:
    """Thread that reads the files of an entry again and again, until it is stopped or finds damage.

    `damaged`: called once, with what has changed. The files are opened now, so that those are read which the session
    has mapped, whoever removes or replaces the entry meanwhile. Raises OSError if they cannot be opened.
    """

    def __init__(
        self,
        place: Path,
        files: Mapping[str, KeptFile],
        damaged: Callable[[str], None],
        *,
        wait: Wait = threading.Event.wait,
    ) -> None:
        self._damaged, self._wait = damaged, wait
        self._stopped = threading.Event()
        with contextlib.ExitStack() as undo:
            self._files = [(name, undo.enter_context(opened(place / name)), kept) for name, kept in files.items()]
            self._opened = undo.pop_all()
        self._thread = threading.Thread(target=self.run, name="gearshift-packed", daemon=True)

    def start(self) -> None:
        """Start the thread; call it once. A system without a thread to spare goes without the check."""
        try:
            self._thread.start()
        except RuntimeError:
            self.close()

    def stop(self) -> None:
        """Tell the thread to end, without waiting for it."""
        self._stopped.set()

    def close(self) -> None:
        """Stop, and wait for the thread to end, PATIENCE_S at most."""
        self.stop()
        if not self._thread.is_alive():
            self._opened.close()
        elif self._thread is not threading.current_thread():
            self._thread.join(PATIENCE_S)  # which closes the files

    def run(self) -> None:
        """Check again and again until `stop`; the target of the thread."""
        with self._opened:
            rest = FIRST_S
            while not self._wait(self._stopped, rest):
                found = self.check()
                if found is not None:
                    self._damaged(found)
                    return
                rest = AGAIN_S

    def check(self) -> str | None:
        """Read every block; return what has changed, None if nothing has or the check was stopped."""
        for name, file, kept in self._files:
            for number in range(len(kept.blocks)):
                if self._wait(self._stopped, PAUSE_S):
                    return None
                try:
                    require_block(file, number, kept)
                except (OSError, ValueError) as error:  # a disk that cannot be read is as bad as one that lies
                    return f"{name}: {error}"
        return None
