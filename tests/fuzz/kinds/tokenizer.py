"""Changes of a tokenizer: other parts, other values anywhere in its JSON, and other bytes."""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable
from typing import Any

from tests.fuzz.kinds.graph import altered_bytes
from tests.fuzz.kinds.json_values import some_place

TEXTS = (
    "",
    "a",
    " ",
    "\u2581",
    "(a+)+$",
    "(a|a)*b",
    ".*.*.*=",
    "x" * 10_000,
    "[UNK]",
    "\ufdfa",
    "\ud800",
    "{",
    "\\",
    "^",
)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 500, 10**9, 1 << 63, 1 << 64, -0.5, 1e308, [], {}, [[]], [None], *TEXTS,
)  # fmt: skip


def change(content: bytes, source: random.Random) -> bytes:
    """Return the tokenizer with one to four changes."""
    if source.random() < 0.15:
        return altered_bytes(content, source)
    raw = json.loads(content)
    for _ in range(source.choice((1, 1, 2, 4))):
        source.choice((value, value, normalizer, pre_tokenizer, post_processor, model))(raw, source)
    return json.dumps(raw).encode("utf-8", "surrogatepass")


def value(raw: Any, source: random.Random) -> None:
    """Another value at some place, the deeper the rarer."""
    if (place := some_place(raw, source)) is None:
        return
    raw, key = place
    if isinstance(raw, dict) and source.random() < 0.3:
        del raw[key]
    else:
        raw[key] = copy.deepcopy(source.choice(VALUES))


def _pattern(source: random.Random) -> dict[str, Any]:
    return {source.choice(("String", "Regex", "Other")): source.choice(TEXTS)}


def _charsmap(source: random.Random) -> str:
    units = [source.choice((0, source.getrandbits(32), 1 << 10, 97 | 256)) for _ in range(source.choice((0, 2, 256)))]
    content = b"".join(unit.to_bytes(4, "little") for unit in units)
    size = source.choice((len(content), len(content), 0, 1 << 30, 0xFFFFFFFF))
    return base64.b64encode(size.to_bytes(4, "little") + content + source.choice((b"", b"x\0", b"\xff"))).decode()


NORMALIZERS: tuple[Callable[[random.Random], dict[str, Any]], ...] = (
    *(
        lambda source, name=name: {"type": name}
        for name in (
            "NFC",
            "NFD",
            "NFKC",
            "NFKD",
            "Lowercase",
            "StripAccents",
            "Nmt",
            "ByteLevel",
            "Unknown",
            "Sequence",
        )
    ),
    lambda source: {"type": "Strip", "strip_left": True, "strip_right": source.choice(VALUES)},
    lambda source: {"type": "Prepend", "prepend": source.choice(TEXTS)},
    lambda source: {"type": "Replace", "pattern": _pattern(source), "content": source.choice(TEXTS)},
    lambda source: {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"},
    lambda source: {"type": "Precompiled", "precompiled_charsmap": _charsmap(source)},
)

PRE_TOKENIZERS: tuple[Callable[[random.Random], dict[str, Any]], ...] = (
    *(
        lambda source, name=name: {"type": name}
        for name in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts", "Unknown")
    ),
    lambda source: {
        "type": "Split", "pattern": _pattern(source), "invert": source.random() < 0.5,
        "behavior": source.choice(("Removed", "Isolated", "MergedWithPrevious", "Contiguous", "Other")),
    },
    lambda source: {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    lambda source: {"type": "Metaspace", "replacement": source.choice(TEXTS), "prepend_scheme": "always"},
    lambda source: {"type": "Digits", "individual_digits": source.choice(VALUES)},
    lambda source: {"type": "CharDelimiterSplit", "delimiter": source.choice(TEXTS)},
    lambda source: {"type": "Punctuation", "behavior": "Isolated"},
    lambda source: {"type": "FixedLength", "length": source.choice(VALUES)},
)  # fmt: skip


def _section(raw: dict[str, Any], name: str, plural: str, made: list[dict[str, Any]]) -> None:
    raw[name] = made[0] if len(made) == 1 else {"type": "Sequence", plural: made}


def normalizer(raw: dict[str, Any], source: random.Random) -> None:
    made = [source.choice(NORMALIZERS)(source) for _ in range(source.choice((1, 1, 2, 40)))]
    _section(raw, "normalizer", "normalizers", made)


def pre_tokenizer(raw: dict[str, Any], source: random.Random) -> None:
    made = [source.choice(PRE_TOKENIZERS)(source) for _ in range(source.choice((1, 1, 2, 40)))]
    _section(raw, "pre_tokenizer", "pretokenizers", made)


def post_processor(raw: dict[str, Any], source: random.Random) -> None:
    ends = {name: [source.choice(TEXTS), source.choice(VALUES)] for name in ("sep", "cls")}
    template = raw["post_processor"] if isinstance(raw.get("post_processor"), dict) else {}
    raw["post_processor"] = source.choice(
        (
            None,
            {"type": "BertProcessing", **ends},
            {"type": "RobertaProcessing", **ends, "trim_offsets": True, "add_prefix_space": False},
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            {**template, "single": template.get("single", []) * 40},
            {**template, "pair": []},
            {**template, "special_tokens": {}},
        )
    )


def model(raw: dict[str, Any], source: random.Random) -> None:
    pieces = ["a", "b", "ab", "\u2581", "##a", "<0x61>", "", "\u0120"]
    scores = [[piece, source.choice((-1.0, 0.0, 1e308, -1e308))] for piece in pieces]
    ids = {piece: source.choice((number, number, number, 10**6)) for number, piece in enumerate(pieces)}
    pairs = source.choice(([["a", "b"]], ["a b"], [["a", "x"]], ["a"], [], None))
    raw["model"] = source.choice(
        (
            {"type": "Unigram", "unk_id": source.choice((0, 5, None, 99)), "vocab": scores, "byte_fallback": True},
            {"type": "BPE", "vocab": ids, "merges": pairs, "unk_token": source.choice(("a", None, "q"))},
            {
                "type": "BPE", "vocab": ids, "merges": pairs, "dropout": source.choice((None, 0.5, 2.0)),
                "byte_fallback": True, "continuing_subword_prefix": source.choice((None, "##", 3)),
            },
            {"type": "WordLevel", "vocab": ids, "unk_token": source.choice(("a", "q", None))},
            {
                "type": "WordPiece", "vocab": ids, "unk_token": source.choice(("a", "q")),
                "continuing_subword_prefix": source.choice(TEXTS),
                "max_input_chars_per_word": source.choice((0, 1, 100, 1000, 10**9)),
            },
        )
    )  # fmt: skip
