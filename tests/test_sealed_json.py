"""JSON objects with the hash of their values: no change of a value passes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gearshift.json_reader import parse_json
from gearshift.sealed_json import SEAL, sealed, unsealed

FIELDS: dict[str, Any] = {"b": [1, 2.5, None, True], "a": {"text": "é\n", "empty": {}}, "small": 1e-300}


@pytest.mark.parametrize("fields", [{}, {"a": 1}, FIELDS])
def test_what_was_sealed_is_read_again_in_any_order_and_with_any_white_space(fields: dict[str, Any]) -> None:
    content = sealed(fields)
    for text in (json.dumps(content), json.dumps(content, indent=3, sort_keys=True, ensure_ascii=False)):
        assert unsealed(parse_json(text)) == fields


def test_no_byte_can_change_a_value() -> None:
    whole = json.dumps(sealed(FIELDS)).encode()
    for place in range(len(whole)):
        for bits in (1, 2, 16, 32, 255):
            changed = whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :]
            try:
                found = unsealed(parse_json(changed))
            except ValueError:
                continue
            assert found == FIELDS, changed


@pytest.mark.parametrize("raw", [None, [], "text", 1, {}, {"a": 1}, {SEAL: 1}, {"a": 1, SEAL: "0" * 64}])
def test_what_was_not_sealed_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match=SEAL):
        unsealed(raw)
