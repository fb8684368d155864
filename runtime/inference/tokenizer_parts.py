"""Parts that the tokenizer of a bundle may have: checked before the tokenizers package sees the file.

The package runs whatever a tokenizer.json asks for: patterns that take forever, replacements that grow a text without
end, tables that lead outside of themselves. Here stand the parts that tokenizers of encoders are made of, and the
limits within which they take a time that grows with the text alone.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gearshift.number_checks import is_finite, is_whole

Part = Mapping[str, Any]

MOST_PARTS = 16
"""Parts of a sequence, and pieces of a template."""

MOST_GROWTH = 4
"""Characters that all replacements together may make of one."""

MOST_WORD = 1000
"""Characters of the longest word that is cut into pieces: the time grows with its square. BERT has 100."""

MOST_OF_ONE = 128
"""Bytes that a table of characters makes of one: the longest of Unicode's own compatibility forms has 33."""

AT_ONCE = 1024
"""Nodes of a trie whose steps are looked at together, to bound the memory."""

MOST_ID = (1 << 32) - 1
"""Largest id that the package reads; `TextEncoder` compares ids with the rows of the word table."""

MOST_SPECIAL = 16
"""Tokens that are added to a text or a pair."""

_ATOM = r"(?:\\[sSdDwWpP.\\](?:\{\^?[A-Z][a-z]?\})?|\[\^?(?:\\.|[^\[\]\\&])+\]|[^\\\[\](){}.*+?|^$])"
_QUANTIFIER = r"(?:[*+?]|\{\d{1,3}(?:,\d{0,3})?\})?"
SIMPLE = re.compile(rf"{_ATOM}{_QUANTIFIER}(?:\|{_ATOM}{_QUANTIFIER})*")
"""Patterns that are found in linear time: a character or a class of them, repeated or not, or one of several such."""


class PartError(ValueError):
    """A part that a bundle's tokenizer may not have; says in one line what about it."""


def check_parts(raw: Any, vocabulary: int, max_length: int) -> int:
    """Return the largest id of a piece; raise ValueError, which says what was found, unless a tokenizer.json is made of
    the parts that are listed here.

    `vocabulary`: rows of the model's word table. `max_length`: tokens of the longest text.
    """
    tokenizer = _object(raw, "tokenizer")
    growth = 1
    for part in _parts(tokenizer.get("normalizer"), "normalizers"):
        growth *= _checked(NORMALIZERS, part, "normalizer")
    _require(growth <= MOST_GROWTH, f"replacements that make {growth} characters of one")
    for part in _parts(tokenizer.get("pre_tokenizer"), "pretokenizers"):
        _checked(PRE_TOKENIZERS, part, "pre_tokenizer")
    ids = _model_ids(_object(tokenizer.get("model"), "model"))
    added_ids = [_object(token, "added token").get("id") for token in _list(tokenizer.get("added_tokens", []))]
    _require_ids(ids, MOST_ID)
    _require_ids(added_ids, MOST_ID)
    around: list[Any] = []
    added = sum(_template(part, around) for part in _parts(tokenizer.get("post_processor"), "processors"))
    _require(added <= min(MOST_SPECIAL, max_length), f"{added} tokens added to a text of {max_length}")
    for part in _parts(tokenizer.get("decoder"), "decoders"):
        _require(part["type"] in DECODERS, f"a decoder {str(part['type'])[:40]!r}")
        _checked({"Replace": _replace}, part, "decoder") if part["type"] == "Replace" else None
    _require_ids(around, vocabulary - 1, f", where the model has {vocabulary} tokens")
    return max(ids, default=0)


def _require(holds: bool, told: str) -> None:
    if not holds:
        raise PartError(told)


def _require_ids(ids: Sequence[Any], most: int, told: str = "") -> None:
    """Raise PartError unless all are whole numbers from 0 to `most`."""
    if set(map(type, ids)) <= {int} and min(ids, default=0) >= 0 and max(ids, default=0) <= most:
        return  # in a tenth of the time that numbers one by one take
    wrong = [found for found in ids if not is_whole(found, 0, most)]
    _require(not wrong, f"an id {str(wrong[:1])[1:-1][:40]}{told}")


def _object(raw: Any, what: str) -> Mapping[str, Any]:
    _require(isinstance(raw, dict), f"no {what}")
    found: Mapping[str, Any] = raw
    return found


def _list(raw: Any) -> list[Any]:
    _require(isinstance(raw, list), f"{type(raw).__name__} in place of a list")
    found: list[Any] = raw
    return found


def _parts(raw: Any, plural: str) -> list[Part]:
    """Return the parts of a section: none, one, or those of a sequence, which may not hold another one."""
    if raw is None:
        return []
    section = _object(raw, plural)
    parts = _list(section.get(plural)) if section.get("type") == "Sequence" else [section]
    _require(len(parts) <= MOST_PARTS, f"{len(parts)} {plural} in a row")
    for part in parts:
        _require(isinstance(part, dict) and isinstance(part.get("type"), str), f"{plural} without a type")
    return parts


def _checked(known: Mapping[str, Callable[[Part], int]], part: Part, section: str) -> int:
    """Return the growth of a text by a part; raise PartError unless it is known, and within its limits."""
    _require(part["type"] in known, f"a {section} {part['type'][:40]!r}")
    return known[part["type"]](part)


def _plain(part: Part) -> int:
    return 1


def _prepend(part: Part) -> int:
    text = part.get("prepend")
    _require(isinstance(text, str) and len(text) <= MOST_GROWTH, "a long text to prepend")
    return 1


def _replace(part: Part) -> int:
    content = part.get("content")
    _require(isinstance(content, str), "a replacement by no text")
    least = _pattern(part)
    return -(-max(1, len(str(content))) // least)


def _split(part: Part) -> int:
    _pattern(part)
    return 1


def _pattern(part: Part) -> int:
    """Return the least characters that a pattern takes; raise PartError unless it is found in linear time."""
    pattern = _object(part.get("pattern"), "pattern")
    (kind, text) = next(iter(pattern.items()), ("", ""))
    _require(len(pattern) == 1 and isinstance(text, str) and bool(text), "a pattern of no text")
    if kind == "String":
        return len(text)
    simple = kind == "Regex" and (text in KNOWN_PATTERNS or SIMPLE.fullmatch(text))
    _require(bool(simple), f"a pattern {text[:40]!r}, which is not among those of linear time")
    return 1


def _delimiter(part: Part) -> int:
    _require(isinstance(part.get("delimiter"), str), "a delimiter that is no text")
    return 1


def _precompiled(part: Part) -> int:
    """Raise PartError unless a table of characters is whole: a trie whose every step stays inside, and its texts.

    The form is that of SentencePiece: bytes of the trie, its units of 32 bits, then texts that end in 0.
    """
    try:
        content = base64.b64decode(part.get("precompiled_charsmap") or "", validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise PartError("a table of characters that is not in base64") from error
    size = int.from_bytes(content[:4], "little")
    _require(0 < size <= len(content) - 4 and size % 4 == 0, "a table of characters that is cut off")
    units = np.frombuffer(content, "<u4", size // 4, 4).astype(np.int64)
    texts = content[4 + size :]
    try:
        texts.decode()
    except UnicodeDecodeError as error:
        raise PartError("a table of characters whose texts are not in UTF-8") from error
    longest = max(map(len, texts.split(b"\0")))
    _require(longest <= MOST_OF_ONE, f"a table of characters that makes {longest} bytes of one")
    bases, leaves = _reachable(units)
    starts = np.frombuffer(b"\0" + texts, np.uint8)
    values = units[leaves] & 0x7FFFFFFF
    inside = values.size == 0 or (values.max() < len(texts) and not starts[values].any())
    _require(bases and bool(inside), "a table of characters that leads outside of itself")
    return 1


def _reachable(units: Any) -> tuple[bool, Any]:
    """Return whether every step through a trie stays inside, and the places of its values.

    A unit has a label (its low byte), whether a value follows (bit 8), and an offset. From a node, each byte leads to
    the place node ^ offset ^ byte, and goes on if the label there is that byte.
    """
    count = len(units)
    offsets = (units >> 10) << ((units & 512) >> 6)
    nodes, seen, leaves = np.array([0]), np.zeros(count, bool), [np.array([], np.int64)]
    while nodes.size:
        seen[nodes] = True
        bases = nodes ^ offsets[nodes]
        if (bases | 255).max() >= count:
            return False, leaves[0]
        leaves.append(bases[units[nodes] & 256 != 0])
        steps = [_steps(units, bases[at : at + AT_ONCE]) for at in range(0, len(bases), AT_ONCE)]
        nodes = np.unique(np.concatenate(steps))
        nodes = nodes[~seen[nodes]]
    return True, np.concatenate(leaves)


def _steps(units: Any, bases: Any) -> Any:
    """Return the places that any byte leads to from these."""
    labels = np.arange(1, 256)
    places = bases[:, None] ^ labels
    return places[(units[places] & 0x800000FF) == labels]


NORMALIZERS: Mapping[str, Callable[[Part], int]] = {
    **dict.fromkeys(
        ("BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip", "Nmt"), _plain
    ),
    "Precompiled": _precompiled,
    "Prepend": _prepend,
    "Replace": _replace,
}
"""Normalizer -> function that checks one and returns how many characters it may make of one. Compositions of Unicode
have their own bound, of 18."""

PRE_TOKENIZERS: Mapping[str, Callable[[Part], int]] = {
    **dict.fromkeys(
        (
            "BertPreTokenizer",
            "ByteLevel",
            "Digits",
            "Metaspace",
            "Punctuation",
            "UnicodeScripts",
            "Whitespace",
            "WhitespaceSplit",
        ),
        _plain,
    ),
    "CharDelimiterSplit": _delimiter,
    "Split": _split,
}

DECODERS = ("BPEDecoder", "ByteFallback", "ByteLevel", "CTC", "Fuse", "Metaspace", "Replace", "Strip", "WordPiece")
"""Parts that turn tokens back into texts, which the runtime never does."""

KNOWN_PATTERNS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
)
"""Patterns of GPT-2, which are longer than SIMPLE and of linear time all the same."""


def _model_ids(model: Part) -> list[Any]:
    """Return the ids of a model's pieces; raise PartError if it has no token for what it does not know."""
    kind = model.get("type")
    _require(isinstance(kind, str) and kind in MODELS, f"a model {str(kind)[:40]!r}")
    return MODELS[str(kind)](model)


def _pieces(model: Part) -> Mapping[str, Any]:
    pieces = _object(model.get("vocab"), "vocabulary")
    _require(bool(pieces), "an empty vocabulary")
    return pieces


def _word_pieces(model: Part) -> list[Any]:
    longest = model.get("max_input_chars_per_word", 0)
    _require(is_whole(longest, 1, MOST_WORD), f"words of {longest!r} characters that are cut into pieces")
    return _words(model)


def _words(model: Part) -> list[Any]:
    pieces = _pieces(model)
    _require_piece(model.get("unk_token"), pieces)
    return list(pieces.values())


def _require_piece(unknown: Any, pieces: Mapping[str, Any]) -> None:
    known = isinstance(unknown, str) and unknown in pieces
    _require(known, f"an unknown token {repr(unknown)[:40]} outside of the vocabulary")


def _byte_pairs(model: Part) -> list[Any]:
    pieces, unknown = _pieces(model), model.get("unk_token")
    if unknown is not None:
        _require_piece(unknown, pieces)
    _require(not model.get("dropout"), "pieces that are left to chance")
    return list(pieces.values())


def _unigrams(model: Part) -> list[Any]:
    pieces = _list(model.get("vocab"))
    whole = all(
        isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) and is_finite(each[1]) for each in pieces
    )
    _require(whole and bool(pieces), "pieces without a score")
    unknown = model.get("unk_id")
    _require(is_whole(unknown, 0, len(pieces) - 1), f"an unknown token {unknown!r} outside of the vocabulary")
    return list(range(len(pieces)))


MODELS: Mapping[str, Callable[[Part], list[Any]]] = {
    "BPE": _byte_pairs,
    "Unigram": _unigrams,
    "WordLevel": _words,
    "WordPiece": _word_pieces,
}
"""Kind of model -> function that checks one and returns the ids of its pieces."""


def _template(part: Part, ids: list[Any]) -> int:
    """Return the number of tokens that a part adds to a pair, and add their ids; raise PartError if it may not."""
    kind = str(part["type"])
    if kind == "ByteLevel":
        return 0
    if kind in ("BertProcessing", "RobertaProcessing"):
        ends = [_list(part.get(name)) for name in ("sep", "cls")]
        _require(all(len(end) == 2 for end in ends), "an end without an id")
        ids += [end[1] for end in ends]
        return 3 + (kind == "RobertaProcessing")
    _require(kind == "TemplateProcessing", f"a post_processor {kind[:40]!r}")
    special: dict[str, list[Any]] = {
        name: _list(_object(token, "special token").get("ids"))
        for name, token in _object(part.get("special_tokens"), "special tokens").items()
    }
    _require(all(1 <= len(found) <= MOST_SPECIAL for found in special.values()), "a special token without an id")
    ids += [found for tokens in special.values() for found in tokens]
    counts = [_added(_list(part.get(name)), special, ends) for name, ends in (("single", "A"), ("pair", "AB"))]
    return max(counts)


def _added(template: Sequence[Any], special: Mapping[str, list[Any]], texts: str) -> int:
    """Return the number of tokens that a template adds; raise PartError unless it takes each text once."""
    _require(len(template) <= MOST_PARTS, f"a template of {len(template)} pieces")
    named = [
        _object(_object(piece, "piece").get("SpecialToken") or piece.get("Sequence"), "piece") for piece in template
    ]
    seen = [each.get("id") for piece, each in zip(template, named, strict=True) if "Sequence" in piece]
    tokens = [each.get("id") for piece, each in zip(template, named, strict=True) if "SpecialToken" in piece]
    _require(sorted(map(str, seen)) == list(texts), f"a template of the texts {seen}")
    known = [special[token] for token in tokens if isinstance(token, str) and token in special]
    _require(len(known) == len(tokens), "a template of unknown tokens")
    return sum(map(len, known))
