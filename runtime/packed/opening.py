"""Opening of the subnets that a session of single options does not have yet, on a thread, while it answers."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

from gearshift.errors import BundleError
from gearshift.runtime.inference.session import ElasticSession

PATIENCE_S = 5.0
"""Longest wait at `close`: for the subnet that is being opened, which takes up to a second."""


class Opening:
    """Thread that opens one subnet after another, the smallest first, until all are open or the session is closed.

    `damaged`: called once, with why a subnet could not be opened. The thread does not keep the session alive.
    """

    def __init__(self, session: ElasticSession, damaged: Callable[[str], None]) -> None:
        self._session, self._damaged = weakref.ref(session), damaged
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self.run, name="gearshift-opening", daemon=True)

    def start(self) -> None:
        """Start the thread; without one to spare, each subnet is opened by its first call."""
        try:
            self._thread.start()
        except RuntimeError:
            self._stopped.set()

    def close(self) -> None:
        """Stop, and wait for the thread to end, PATIENCE_S at most."""
        self._stopped.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE_S)

    def run(self) -> None:
        """Open all that is not open; the target of the thread."""
        try:
            while not self._stopped.is_set() and self._open_next():
                pass
        except (BundleError, OSError) as error:
            self._damaged(str(error))

    def _open_next(self) -> bool:
        session = self._session()
        return session is not None and session.open_next()
