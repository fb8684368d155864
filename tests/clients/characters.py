"""Steps of BERT's tokenizers, one by one, as the `tokenizers` package does them."""

from __future__ import annotations

from collections.abc import Callable

from tokenizers import normalizers, pre_tokenizers

CHARACTERS = (*range(0xD800), *range(0xE000, 0x30000), *range(0xE0000, 0xE1000))
"""Code points of the planes that have characters, without those for private use at the end."""

STEPS: dict[str, dict[str, bool]] = {
    "cleaned": {"clean_text": True},
    "apart": {"handle_chinese_chars": True},
    "bare": {"strip_accents": True},
    "lower": {"lowercase": True},
}
"""Step of BertNormalizer -> the option that it is."""

_NONE = dict.fromkeys(("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False)
_CUT = pre_tokenizers.BertPreTokenizer().pre_tokenize_str


def _words(text: str) -> str:
    return " ".join(word for word, _ in _CUT(text))


BY_STEP: dict[str, Callable[[str], str]] = {
    **{step: normalizers.BertNormalizer(**{**_NONE, **own}).normalize_str for step, own in STEPS.items()},
    "words": _words,
}
"""Step -> function that does it alone; `words` cuts a text, and puts blanks between the words."""
