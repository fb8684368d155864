"""Odd tokenizer folders, as people bring them, over one small vocabulary, and texts to try them on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

MAX_LENGTH = 12

Pair = tuple[str, str]

TEXTS: tuple[str | Pair, ...] = (
    "snow",
    "Snow and ICE",
    "Straße und Fuß",
    "café déjà-vu élan",
    "cafe\u0301 with a combining accent",
    "U.S. 3.5 %, Karl-Anna's",
    "\u96ea\u548c\u51b0",
    "snow\u96ea ice",
    "snow \U0001f600 ice",
    "\u05e9\u05dc\u05d5\u05dd snow",
    "tab\tand\nnewline   and\u00a0blanks ",
    "con\x07trol zero\u200bwidth",
    "[CLS] snow [SEP] ice [PAD] [MASK]",
    "<s> snow </s> ice <pad> <mask>",
    "see <URL> and @user now",
    "unaffable-unknowable",
    "donaudampfschiff" * 8,
    " ".join(f"snow{number}" for number in range(20)),
    " ".join(["snow", "and", "ice", "ICE", "\u00e9lan"] * 12),
    ("snow", "ice"),
    ("snow and ice " * 8, "ice"),
    ("ice", "snow and ice " * 8),
    ("snow and ice " * 8, "Ice [SEP] and snow " * 8),
)
"""Texts of several scripts and lengths, and pairs that are cut in the first, the second and both."""

_WORDS = """
U S snow ice and cafe caf\xe9 elan \xe9lan deja d\xe9j\xe0 vu with combining accent us karl anna see url user now un aff
able know tab new line blanks control zero width stra\xdfe strasse und fu\xdf fuss Snow ICE Ice Karl Anna Stra\xdfe URL
"""
_STEMS = tuple(_WORDS.split())
_CHARACTERS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,'-%<>[]/@"
    "\u00df\u00e9\u00e0\u96ea\u548c\u51b0\u05e9\u05dc\u05d5\u05dd"
)

BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def pieces(special: Sequence[str] = BERT_SPECIAL) -> list[str]:
    """Return the pieces of a WordPiece vocabulary, each once, after some unused ones."""
    unused = [f"[unused{number}]" for number in range(6)]
    endings = [f"##{text}" for text in (*_CHARACTERS, *_STEMS)]
    return list(dict.fromkeys([*special, *unused, *_CHARACTERS, *_STEMS, *endings]))


Write = Callable[[Path], object]


@dataclass(frozen=True)
class Folder:
    """Tokenizer folder: the model's type, the writers of its tokenizer, and what its JSON files say."""

    model_type: str
    write: Sequence[Write]
    files: Mapping[str, Any] = field(default_factory=dict)
    """Name -> content of JSON files."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Fields of config.json besides `model_type`."""

    def make(self, target: Path) -> Path:
        """Write the folder; config.json too, by which transformers finds the class of the tokenizer."""
        target.mkdir()
        for write in self.write:
            write(target)
        config = {"model_type": self.model_type, "vocab_size": 1000, **self.config}
        for name, content in {"config.json": config, **self.files}.items():
            (target / name).write_text(json.dumps(content))
        return target


def vocab_txt(special: Sequence[str] = BERT_SPECIAL) -> Write:
    """Return a writer of the vocab.txt of a BERT."""
    return lambda target: (target / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces(special)))


def word_pieces(
    special: Sequence[str] = BERT_SPECIAL,
    *,
    change: Callable[[Tokenizer], object] = lambda tokenizer: None,
    **lower: Any,
) -> Write:
    """Return a writer of the tokenizer.json of a BERT; special tokens in the order pad, unknown, first, last, mask."""

    def write(target: Path) -> None:
        vocabulary = {piece: number for number, piece in enumerate(pieces(special))}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=special[1]))
        tokenizer.normalizer = normalizers.BertNormalizer(**lower)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        first, last = special[2], special[3]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}",
            pair=f"{first} $A {last} $B:1 {last}:1",
            special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])],
        )
        tokenizer.add_special_tokens(list(special))
        change(tokenizer)
        tokenizer.save(str(target / "tokenizer.json"))

    return write


def byte_pairs(target: Path) -> None:
    """Write the vocab.json and merges.txt of a RoBERTa."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges, made = [], []
    for word in ("\u0120snow", "\u0120ice", "\u0120and", "snow", "ice"):
        so_far = word[0]
        for letter in word[1:]:
            if (so_far, letter) not in merges:
                merges.append((so_far, letter))
                made.append(so_far + letter)
            so_far += letter
    words = dict.fromkeys([*ROBERTA_SPECIAL[:4], *alphabet, *made, "<mask>"])
    (target / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    lines = ["#version: 0.2", *(f"{one} {other}" for one, other in merges)]
    (target / "merges.txt").write_text("\n".join(lines) + "\n")


def likely_pieces(target: Path) -> None:
    """Write the tokenizer.json of an XLM-R."""
    words = ["\u2581snow", "\u2581ice", "\u2581and", "\u2581", *_CHARACTERS]
    vocabulary = [*((token, 0.0) for token in ROBERTA_SPECIAL[:4]), *((word, -1.0 - n) for n, word in enumerate(words))]
    tokenizer = Tokenizer(models.Unigram([*vocabulary, ("<mask>", 0.0)], unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens([*ROBERTA_SPECIAL[:4], AddedToken("<mask>", lstrip=True)])
    tokenizer.save(str(target / "tokenizer.json"))


def _pad_and_cut(tokenizer: Tokenizer) -> None:
    tokenizer.enable_padding(length=20, pad_id=0, pad_token="[PAD]", direction="left")
    tokenizer.enable_truncation(5, stride=2, direction="left", strategy="only_first")


def _whole_words(target: Path) -> None:
    words = {word: number for number, word in enumerate(("[UNK]", "[PAD]", *_STEMS))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(target / "tokenizer.json"))


_OTHER = ("<blank>", "<unknown>", "<first>", "<last>", "<hole>")
_NAMES = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), _OTHER, strict=True))
_FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}


def _config(**fields: Any) -> dict[str, Any]:
    return {"tokenizer_config.json": fields}


FOLDERS: dict[str, Folder] = {
    "BERT, vocab.txt and tokenizer.json": Folder("bert", [vocab_txt(), word_pieces()]),
    "BERT, only vocab.txt": Folder("bert", [vocab_txt()]),
    "BERT, only tokenizer.json": Folder("bert", [word_pieces()]),
    "BERT, tokenizer.json of no class": Folder("bert", [word_pieces()], _config(**_FAST, pad_token="[PAD]")),
    "BERT, cased vocab.txt": Folder("bert", [vocab_txt()], _config(do_lower_case=False)),
    "BERT, cased but for tokenizer.json": Folder("bert", [word_pieces(lowercase=True)], _config(do_lower_case=False)),
    "BERT, cased without accents": Folder("bert", [vocab_txt()], _config(do_lower_case=False, strip_accents=True)),
    "BERT, lower case with accents": Folder("bert", [vocab_txt()], _config(do_lower_case=True, strip_accents=False)),
    "BERT, Chinese characters stay together": Folder("bert", [vocab_txt()], _config(tokenize_chinese_chars=False)),
    "BERT, slow class": Folder("bert", [vocab_txt()], _config(tokenizer_class="BertTokenizer")),
    "pad token named by tokenizer_config.json": Folder("bert", [word_pieces(_OTHER)], _config(**_FAST, **_NAMES)),
    "pad token named by special_tokens_map.json": Folder(
        "bert", [word_pieces(_OTHER)], {**_config(**_FAST), "special_tokens_map.json": _NAMES}
    ),
    "special tokens with settings of their own": Folder(
        "bert",
        [word_pieces(_OTHER)],
        {
            **_config(**_FAST),
            "special_tokens_map.json": {
                name: {"content": token, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
                for name, token in _NAMES.items()
            },
        },
    ),
    "special tokens named otherwise, only vocab.txt": Folder(
        "bert", [vocab_txt(_OTHER)], {"special_tokens_map.json": _NAMES}
    ),
    "a pad token that is a word": Folder("bert", [word_pieces()], _config(**_FAST, pad_token="[unused3]")),
    "cut on the left": Folder("bert", [vocab_txt(), word_pieces()], _config(truncation_side="left")),
    "padded on the left": Folder("bert", [vocab_txt(), word_pieces()], _config(padding_side="left")),
    "tokenizer.json that pads and cuts": Folder("bert", [word_pieces(change=_pad_and_cut)]),
    "tokenizer.json that cuts on the left, config on the right": Folder(
        "bert", [word_pieces(change=_pad_and_cut)], _config(truncation_side="right")
    ),
    "a limit below the model's positions": Folder("bert", [vocab_txt()], _config(model_max_length=8)),
    "more special tokens": Folder(
        "bert",
        [vocab_txt(), word_pieces()],
        {"special_tokens_map.json": {"additional_special_tokens": ["[unused1]", "snow"]}},
    ),
    "an added token in place of an unused one": Folder(
        "bert", [word_pieces(change=lambda tokenizer: tokenizer.add_tokens([AddedToken("[unused0]", lstrip=True)]))]
    ),
    "no tokens before and after": Folder(
        "bert", [_whole_words], _config(**_FAST, pad_token="[PAD]", unk_token="[UNK]")
    ),
    "DistilBERT, only vocab.txt": Folder("distilbert", [vocab_txt()], _config(do_lower_case=False)),
    "ELECTRA, only vocab.txt": Folder("electra", [vocab_txt()], _config(do_lower_case=True, truncation_side="left")),
    "RoBERTa, vocab.json and merges.txt": Folder("roberta", [byte_pairs]),
    "RoBERTa, blank before the first word": Folder(
        "roberta", [byte_pairs], _config(add_prefix_space=True, truncation_side="left")
    ),
    "RoBERTa, offsets with their blanks": Folder("roberta", [byte_pairs], _config(trim_offsets=False)),
    "XLM-R, only tokenizer.json": Folder("xlm-roberta", [likely_pieces]),
    "XLM-R, cut on the left": Folder(
        "xlm-roberta",
        [likely_pieces],
        _config(tokenizer_class="XLMRobertaTokenizer", truncation_side="left", padding_side="left"),
    ),
}
"""Name -> folder."""
