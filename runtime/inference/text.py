"""Tokenizer of a bundle: converts texts to token arrays."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from gearshift.errors import InputError
from gearshift.runtime.batches import Work, group, work_of
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import TOKENIZER
from gearshift.runtime.inference.shortening import Shortened, shortened
from gearshift.runtime.inference.tokenizer_file import failure, open_tokenizer
from gearshift.runtime.inference.words import SplitText, Words, split_text, split_words

Text = str | tuple[str, str] | Words
"""One text, a pair of texts that the model reads together, or the words of a text that is tagged."""

CHARACTERS_PER_TOKEN = 32
"""Characters per token of max_length beyond which a text is cut before it is tokenized, to keep the time bounded.
English has 4 to 5 characters per token; 32 leaves room for text that is mostly long, frequent words."""


class Tokens(Protocol):
    """Tokens of one row of a call, such as `tokenizers.Encoding`, or a window of one."""

    @property
    def ids(self) -> list[int]: ...

    @property
    def type_ids(self) -> list[int]: ...

    @property
    def attention_mask(self) -> list[int]: ...


_COLUMNS = {
    "input_ids": operator.attrgetter("ids"),
    "attention_mask": operator.attrgetter("attention_mask"),
    "token_type_ids": operator.attrgetter("type_ids"),
}
"""Input of the graph -> function that gives its numbers for the tokens of a row."""


@dataclass(frozen=True)
class Call:
    """Texts that run in one call of the graph."""

    rows: tuple[int, ...]
    """Indices of the texts, in the order of the inputs."""
    inputs: dict[str, NDArray[Any]]
    """Arrays by name of the graph's input, each (rows, tokens), padded to the longest of these texts."""


@dataclass(frozen=True)
class Encoded:
    """One or more texts as the graph takes them."""

    calls: tuple[Call, ...]
    """Calls of texts of similar length, so that little is padded (`batches`)."""
    tokens: tuple[int, ...]
    """Number of tokens of each text, special ones included, without padding."""
    truncated: tuple[bool, ...]
    """Whether the end of each text was cut off, or the beginning if the tokenizer cuts that."""
    parts: tuple[tuple[str, ...], ...]
    """Texts, one or two, of each row, as they were tokenized: cut, and words with single blanks between them."""
    encodings: tuple[Any, ...]
    """Tokens of each row with their offsets in its parts."""
    work: Work
    """Work of the texts: tokens and number of texts of each call."""
    batched: bool = True
    """Whether texts of similar length run in one call; if not, each text has a call of its own."""
    splits: tuple[SplitText | None, ...] = ()
    """Words of each row's first text; None where the tokenizer alone cuts it."""
    starts: tuple[tuple[int, ...], ...] = ()
    """Place of each of `parts` in the text that was given, for tasks whose answers have places."""


class Encoder(Protocol):
    """Maker of what a graph takes: of texts (`TextEncoder`), or of images (`images.ImageEncoder`)."""

    def encode(self, items: Sequence[Any], prompts: Sequence[str | None] | None = None) -> Encoded:
        """Convert what a request gives; raise InputError for anything else."""


class TextEncoder:
    """Tokenizer of a bundle. Safe to use from several threads.

    `batch`: give texts of similar length to one call of the graph. Raises SchemaError for a tokenizer that cannot be
    read, or has more tokens than the model.
    """

    def __init__(self, bundle: Bundle, *, batch: bool = True) -> None:
        self._path = bundle.path / TOKENIZER
        self.max_length = bundle.manifest.max_length
        """Most tokens of a row, special ones included."""
        self._tokenizer = open_tokenizer(bundle)
        self._cuts_beginning = str((self._tokenizer.truncation or {}).get("direction", "right")) == "left"
        self._names, self._batch = bundle.manifest.inputs, batch
        self._prompt = bundle.manifest.prompt
        self._pad_id = bundle.manifest.pad_id
        self._keeps_places = bundle.manifest.per_token
        self._tags, self._rule = bundle.manifest.tags, bundle.manifest.words
        self._asks = bundle.manifest.task == "question-answering"
        self._characters = bundle.manifest.max_length * CHARACTERS_PER_TOKEN

    def encode(self, items: Sequence[Text], prompts: Sequence[str | None] | None = None) -> Encoded:
        """Convert one or more texts to token arrays; raise InputError for an empty text and for anything but a text.

        `prompts`: for each text the prompt before it; None for that of the bundle.
        Texts are tokenized one after another: the tokenizer's own batches would use every core of the device.
        """
        encodings: list[Tokens] = []
        truncated: list[bool] = []
        kept: list[tuple[str, ...]] = []
        splits: list[SplitText | None] = []
        starts: list[tuple[int, ...]] = []
        for index, text in enumerate(items):
            where = f"text {index}: " if len(items) > 1 else ""
            prompt = None if prompts is None else prompts[index]
            split, parts = self._split(text, where, self._characters, prompt)
            encoding = self._encode_one([part.text for part in parts], where, self._tokenizer)
            encodings.append(encoding)
            kept.append(tuple(part.text for part in parts))
            truncated.append(bool(encoding.overflowing) or any(part.cut for part in parts))
            splits.append(split)
            starts.append(tuple(part.start for part in parts))
        return self.made(encodings, truncated, kept, splits, starts)

    def picked(self, encoded: Encoded, rows: Sequence[int]) -> Encoded:
        """Return some rows of texts that were encoded, in this order, grouped and padded anew."""
        return self.made(
            [encoded.encodings[row] for row in rows],
            [encoded.truncated[row] for row in rows],
            [encoded.parts[row] for row in rows],
            [encoded.splits[row] for row in rows],
            [encoded.starts[row] for row in rows],
        )

    def joined(self, texts: Sequence[Encoded]) -> Encoded:
        """Return single texts that were encoded as the rows of one call, padded to the longest of them."""
        encodings = [one.encodings[0] for one in texts]
        lengths = tuple(one.tokens[0] for one in texts)
        return Encoded(
            (Call(tuple(range(len(texts))), self._inputs(encodings)),),
            lengths,
            tuple(one.truncated[0] for one in texts),
            tuple(one.parts[0] for one in texts),
            tuple(encodings),
            ((max(lengths), len(texts)),),
        )

    def whole(
        self, text: Text, longest: int, where: str = "", prompt: str | None = None
    ) -> tuple[Encoding, SplitText | None, tuple[str, ...]]:
        """Return all tokens of a text, however many, its words and its parts; raise InputError beyond `longest`
        characters, and as `encode` does."""
        split, parts = self._split(text, where, longest, prompt)
        if any(part.cut for part in parts):
            raise InputError(f"{where}expected at most {longest} characters to read in windows, got more; cut the text")
        strings = tuple(part.text for part in parts)
        return self._encode_one(list(strings), where, self._untruncated), split, strings

    def prompt_tokens(self, whole: Encoding, prompt: str | None = None) -> int:
        """Return the number of tokens of the prompt, which stand before those of the text itself."""
        end = len((self._prompt if prompt is None else prompt).rstrip())
        places = [place for place, one in zip(whole.offsets, whole.sequence_ids, strict=True) if one == 0]
        return sum(0 < after <= end for _, after in places)

    @functools.cached_property
    def _untruncated(self) -> Tokenizer:
        """Tokenizer that cuts nothing: one of its own, as others use the tokenizer meanwhile."""
        made = Tokenizer.from_str(self._tokenizer.to_str())
        made.no_truncation()
        return made

    def made(
        self,
        encodings: Sequence[Tokens],
        truncated: Sequence[bool],
        parts: Sequence[tuple[str, ...]],
        splits: Sequence[SplitText | None],
        starts: Sequence[tuple[int, ...]],
    ) -> Encoded:
        """Return rows with their facts as the graph takes them: grouped by length, and padded."""
        lengths = tuple(len(encoding.ids) for encoding in encodings)
        groups = group(lengths, batch=self._batch)
        return Encoded(
            tuple(Call(rows, self._inputs([encodings[row] for row in rows])) for rows in groups),
            lengths,
            tuple(truncated),
            tuple(parts),
            tuple(encodings),
            work_of(lengths, batch=self._batch),
            self._batch,
            tuple(splits),
            tuple(starts),
        )

    def encoding(self, text: Text) -> Encoding:
        """Return the tokens of one text, with their places in it; raises as `encode` does."""
        parts = [part.text for part in self._split(text, "", self._characters)[1]]
        return self._encode_one(parts, "", self._tokenizer)

    def _split(
        self, text: object, where: str, longest: int, prompt: str | None = None
    ) -> tuple[SplitText | None, list[Shortened]]:
        """Return the words of a text, if they are known, and its parts, of at most `longest` characters."""
        if isinstance(text, Words):
            if not self._tags:
                raise InputError(f"{where}expected a text, got Words, which are for token classification; pass a text")
            split, cut = split_words(text.checked(where), self._rule, longest)
            return split, [Shortened(split.joined, cut)]
        first, *others = _parts(text, where)
        if self._asks and not others:
            raise InputError(f"{where}expected a pair, a question and the text with its answer, got one text")
        rest = [self._shortened(part, longest) for part in others]
        if self._rule is None:
            before = self._prompt if prompt is None else prompt
            return None, [self._shortened(first, longest, before), *rest]
        split, cut = split_text(first, self._rule, longest, where)
        return split, [Shortened(split.joined, cut), *rest]

    def _inputs(self, encodings: Sequence[Tokens]) -> dict[str, NDArray[np.int64]]:
        columns = {name: [_COLUMNS[name](encoding) for encoding in encodings] for name in self._names}
        if len(encodings) == 1:  # the usual case, on the path of every request: nothing is padded
            return {name: np.array(rows, np.int64) for name, rows in columns.items()}
        longest = max(map(len, columns["input_ids"]))
        pads = {"input_ids": self._pad_id}
        return {name: _padded(rows, pads.get(name, 0), longest) for name, rows in columns.items()}

    def _encode_one(self, parts: list[str], where: str, tokenizer: Tokenizer) -> Encoding:
        try:
            return tokenizer.encode(*parts)
        except (TypeError, UnicodeEncodeError) as error:  # a str with a lone surrogate, which UTF-8 lacks
            raise InputError(f"{where}not valid Unicode; expected text without lone surrogates") from error
        except BaseException as error:
            raise failure(self._path, error) from error

    def _shortened(self, text: str, longest: int, prompt: str = "") -> Shortened:
        return shortened(
            text, longest, prompt=prompt, keeps_places=self._keeps_places, cuts_beginning=self._cuts_beginning
        )


def _parts(text: object, where: str) -> tuple[str, ...]:
    """Return the one or two strings of a text; raise InputError for anything else."""
    parts = text if isinstance(text, tuple) else (text,)
    if isinstance(text, tuple) and len(text) != 2:
        raise InputError(f"{where}expected a text or a pair of texts, got a tuple of {len(text)}")
    for part in parts:
        if not isinstance(part, str):
            raise InputError(f"{where}expected a text (str) or a pair of texts, got {type(part).__name__}")
        if not part or part.isspace():
            raise InputError(f"{where}empty text; expected at least one word")
    return parts


def _padded(rows: list[list[int]], value: int, length: int) -> NDArray[np.int64]:
    array = np.full((len(rows), length), value, dtype=np.int64)  # (batch, tokens)
    for index, row in enumerate(rows):
        array[index, : len(row)] = row
    return array
