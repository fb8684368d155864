"""The form of docs/bundle.md: `text`, `words` or `texts`, and answers with the fields of each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gearshift.errors import InputError
from gearshift.number_checks import shown
from gearshift.runtime.bundle.manifest import Manifest
from gearshift.runtime.inference.answers import plain_answer
from gearshift.runtime.inference.words import Words
from gearshift.server.asked import Asked, check_count, check_model, refuse_others

ASKED = ("text", "words", "texts")
KNOWN = (*ASKED, "model")


def read_contract(fields: Mapping[str, Any], manifest: Manifest, most: int) -> Asked:
    """Read a body with one text, a pair (a list of two strings), the words of one, or a list of these as `texts`."""
    refuse_others(fields, KNOWN)
    check_model(fields, manifest)
    given = [name for name in ASKED if name in fields]
    if len(given) != 1:
        raise InputError(f"body: expected one of {', '.join(ASKED)}, got {' and '.join(given) or 'none'}")
    if given == ["words"]:
        return Asked(Words(fields["words"]), plain_answer)
    if given == ["text"]:
        return Asked(_text(fields["text"]), plain_answer)
    texts = fields["texts"]
    if not isinstance(texts, list):
        raise InputError(f"texts: expected a list of texts, got {shown(texts)}")
    check_count(len(texts), most)
    return Asked([_text(text) for text in texts], lambda answers: {"answers": [plain_answer(one) for one in answers]})


def _text(given: object) -> Any:
    """Return a text as the engine takes it; what is none, the engine refuses in its own words."""
    if isinstance(given, dict) and given.keys() == {"words"}:
        return Words(given["words"])
    return tuple(given) if isinstance(given, list) else given
