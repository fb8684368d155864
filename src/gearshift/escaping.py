"""Text of others as it may be shown on terminals, in messages, log lines and reports: labels, names, licences, paths.

A terminal obeys escape sequences, a line end makes one line look like two, and an override of the direction of writing
makes a line look like another one.
"""

from __future__ import annotations

import logging
import re

_OBEYED = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters but the tab, ends of lines and paragraphs, and what overrides or isolates a direction of writing.

Marks that ordinary text needs stay: joiners of scripts and emoji, and the marks of direction, which override nothing.
"""


def escaped(text: str) -> str:
    """Write the characters that a terminal obeys as Python escapes them; ordinary text of any language stays."""
    return _OBEYED.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)


class EscapingFormatter(logging.Formatter):
    """Formatter of log lines whose message is one line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name in logging
        """Write a record without its traceback."""
        return escaped(super().formatMessage(record))
