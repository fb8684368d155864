"""Opened bundle: its session, tokenizer and DAN, each opened once."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError
from gearshift.number_checks import is_whole, shown
from gearshift.runtime.batches import one
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import PIXELS
from gearshift.runtime.inference.executors import DanExecutor, Executor, elastic_executors
from gearshift.runtime.inference.images import ImageEncoder
from gearshift.runtime.inference.self_test_file import read_texts
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import Call, Encoded, Encoder, TextEncoder

if TYPE_CHECKING:
    from gearshift.runtime.dan.model import Dan

Inputs = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Opened:
    """All opened parts of one bundle, and the only source of its tokenizer, DAN and executors."""

    bundle: Bundle
    session: ElasticSession
    encoder: Encoder
    dan: Dan | None
    """DAN of the bundle; None if it has none."""

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        session: ElasticSession,
        dan: Dan | None = None,
        encoder: Encoder | None = None,
        *,
        batch: bool = True,
    ) -> Opened:
        """Open the parts that a session needs besides itself; `dan`, `encoder`: those that are open already.

        `batch`: run texts of similar length in one call.
        """
        if dan is None and bundle.dan is not None:
            from gearshift.runtime.dan.model import open_dan  # few bundles have one

            dan = open_dan(bundle.path / bundle.dan.file)
        return cls(bundle, session, encoder or encoder_of(bundle, batch=batch), dan)

    @property
    def texts(self) -> TextEncoder:
        """Encoder of a bundle of texts; raises InputError for one of images."""
        if not isinstance(self.encoder, TextEncoder):
            raise InputError(f"expected a bundle of texts, got one for {self.bundle.manifest.task}")
        return self.encoder

    @functools.cached_property
    def executors(self) -> Mapping[str, Executor]:
        """Executors by name: of every subnet at the session's precision, and of the DAN."""
        found: dict[str, Executor] = dict(elastic_executors(self.session, self.bundle.pool(self.session.precision)))
        if self.dan is not None and self.bundle.dan is not None:
            found[self.bundle.dan.name] = DanExecutor(self.dan)
        return found

    def random_text(self, length: int, seed: int = 0) -> Encoded:
        """Make a text of `length` random tokens; with words of the self-test for the DAN to read, if there is one."""
        text = "" if self.dan is None else self._sample(length)
        call = Call((0,), random_inputs(self.bundle, length, seed))
        return Encoded((call,), (length,), (False,), ((text,),), (), one(length))

    def warm_up(self, names: Sequence[str], lengths: Sequence[int], budget_s: float) -> int:
        """Run these executors once for each length, in this order, until the budget is used; return the calls made."""
        texts = {length: self.random_text(length) for length in checked_lengths(lengths, self.bundle)}
        began, calls = time.perf_counter(), 0
        for name in names:
            for length in lengths:
                if time.perf_counter() - began >= budget_s:
                    return calls
                self.executors[name](texts[length], None)
                calls += 1
        return calls

    def _sample(self, length: int) -> str:
        """Make a text of `length` tokens from the DAN's self-test: the DAN knows some of its n-grams, as is usual."""
        words = self._words
        encoded = self.texts.encode([" ".join(words * (1 + length // len(words)))])
        ends = [end for _, end in encoded.encodings[0].offsets[: max(2, length - 1)]]
        return encoded.parts[0][0][: max(ends)]

    @functools.cached_property
    def _words(self) -> list[str]:
        assert self.bundle.dan is not None
        texts, _ = read_texts(self.bundle.path, self.bundle.dan)
        return " ".join(texts.ravel().tolist()).split()


def checked_lengths(lengths: Sequence[int], bundle: Bundle) -> tuple[int, ...]:
    """Return lengths in tokens, ascending and each once; raise InputError for one that the bundle does not accept."""
    longest = bundle.manifest.max_length
    if not lengths or not all(is_whole(n, 1, longest) for n in lengths):
        raise InputError(f"lengths: expected numbers of tokens from 1 to {longest}, got {shown(list(lengths))}")
    return tuple(sorted(set(lengths)))


def encoder_of(bundle: Bundle, *, batch: bool = True) -> Encoder:
    """Open the encoder of a bundle; `batch` as in `TextEncoder`."""
    return TextEncoder(bundle, batch=batch) if bundle.manifest.images is None else ImageEncoder(bundle.manifest)


def random_inputs(bundle: Bundle, length: int, seed: int = 0, *, batch: int = 1) -> Inputs:
    """Make texts of `length` random tokens each: int64 arrays (batch, tokens) by name of the graph's input; or random
    images."""
    images = bundle.manifest.images
    if images is not None:
        pixels = np.random.default_rng(seed).standard_normal((batch, 3, images.height, images.width), np.float32)
        return {PIXELS: pixels}
    ids = np.random.default_rng(seed).integers(0, bundle.manifest.space.shape.vocabulary, (batch, length))
    columns = {
        "input_ids": ids.astype(np.int64),
        "attention_mask": np.ones((batch, length), dtype=np.int64),
        "token_type_ids": np.zeros((batch, length), dtype=np.int64),
    }
    return {name: columns[name] for name in bundle.manifest.inputs}
