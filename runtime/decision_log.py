"""One line of JSON for each request: what was decided, on what grounds, and how it went."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

from gearshift.runtime.errors import StorageError

logger = logging.getLogger(__name__)


class DecisionLog:
    """A file that lines are appended to; safe to use from several threads. Raises StorageError on opening.

    A request never fails for its log: where a line cannot be written (a full disk), that is said once in
    the program's log and no more lines follow.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        try:
            self._file: Any = self._path.open("ab", buffering=0)  # each line is there at once, and whole
        except OSError as error:
            raise StorageError(
                f"{path}: the decision log could not be opened ({error.strerror}); name another file"
            ) from error

    def write(self, line: dict[str, Any]) -> None:
        """Append one object."""
        content = (json.dumps(line, ensure_ascii=False) + "\n").encode()
        with self._lock:
            if self._file is None:
                return
            try:
                self._file.write(content)
            except OSError as error:
                logger.warning("%s: the decision log ends here (%s)", self._path, error.strerror)
                self._file.close()
                self._file = None

    def close(self) -> None:
        """Close the file; lines written afterwards are dropped."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
