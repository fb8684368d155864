"""Text of others in HTML and SVG, which may hold no control characters at all."""

from __future__ import annotations

import html

from gearshift.escaping import escaped


def escape(text: str) -> str:
    """Write a text so that it is no markup, and so that no character of it is obeyed."""
    return html.escape(escaped(text))
