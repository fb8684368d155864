"""Self-test of a bundle: its known texts must give its known logits on this CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import SelfTestError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.tasks import Task
from gearshift.runtime.inference.opened import encoder_of
from gearshift.runtime.inference.self_test_file import read_logits, read_texts, read_words
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.spans import word_tokens
from gearshift.runtime.inference.text import Encoder, TextEncoder
from gearshift.runtime.inference.token_vectors import check_token_vectors

if TYPE_CHECKING:
    from gearshift.runtime.dan.model import Dan

FP32_TOLERANCE = 1e-3
"""Largest difference of a logit. Instruction sets differ in the order of additions, by some 1e-6 a layer: a thousandth
is far above rounding and far below the error of a wrong kernel."""

INT8_ERROR = 0.1
"""Largest mean difference of the logits / their standard deviation, for each subnet by itself. Integer products are
the same everywhere, but a last-bit difference before a quantization moves a value by a whole step (1/255 of the
range), so that bit equality cannot be required. A wrong branch shifts the logits by a good part of their spread, and so
do saturated products (x86 without VNNI, 8-bit weights): a single one was off by 0.5 % of the spread for Gaussian
weights and 6 % for uniform ones, and a net has dozens. With 7-bit weights none was off."""

FP16_ERROR = 0.02
"""Largest mean difference of fp16 logits / their standard deviation. Devices round in different places: by 2**-12 of
each value, .003 of the spread after twelve layers."""

INT8_AGREEMENT = 0.9
"""Least share of rows with the same best label, over all subnets together. In the other rows two labels are nearly
equal, and one quantization step can swap them."""


@np.errstate(over="ignore", invalid="ignore")  # what is infinite or NaN is above every limit
def check_self_test(session: ElasticSession, bundle: Bundle) -> None:
    """Run every pool subnet on the bundle's own inputs; raise SelfTestError that states the figures.

    fp32: every logit within FP32_TOLERANCE.
    int8, fp16: the mean difference of each subnet within INT8_ERROR, FP16_ERROR of the spread of its logits; for tasks
    with labels, the same best label on INT8_AGREEMENT of all rows.
    """
    same = total = 0
    for name, form, expected, found in _self_test_runs(session, bundle):
        error = np.abs(found - expected)
        if session.precision == "fp32":
            _require(error.max(), FP32_TOLERANCE, "largest difference of a logit", session, bundle, name)
        else:
            spread = max(float(expected.std()), FP32_TOLERANCE)
            limit = FP16_ERROR if session.precision == "fp16" else INT8_ERROR
            _require(error.mean() / spread, limit, "mean difference / spread", session, bundle, name)
        if form.labelled:
            same += int((found.argmax(-1) == expected.argmax(-1)).sum())
            total += len(expected)
    if same < INT8_AGREEMENT * total:
        raise SelfTestError(
            f"{bundle.path}: {session.precision} self-test: expected the same label on "
            f"{INT8_AGREEMENT:.0%} of {total} rows, found {same}; use another precision on this CPU"
        )


def _self_test_runs(
    session: ElasticSession, bundle: Bundle
) -> Iterator[tuple[str, Task, NDArray[np.float32], NDArray[np.float32]]]:
    """Yield for every pool subnet and head the name of the subnet, the form of the outputs, and the expected and found
    logits (rows, labels); a row is a text or one of its tokens.

    Raises SchemaError if the self-test cannot be read, SelfTestError if the shapes differ.
    """
    inputs, wanted = read_logits(bundle, session.precision)
    for name, entry in bundle.pool(session.precision).items():
        outputs = session.run_heads(inputs, entry.choice)
        for head, expected, found in zip(session.heads, wanted[name], outputs, strict=True):
            if found.shape != expected.shape:
                raise SelfTestError(
                    f"{bundle.path}: {session.precision} subnet {name}: expected logits of shape "
                    f"{expected.shape}, found {found.shape}; export the bundle again"
                )
            rows = inputs["attention_mask"].astype(bool) if head.form.per_token else ...
            yield name, head.form, expected[rows], found[rows]


def _require(value: float, limit: float, what: str, session: ElasticSession, bundle: Bundle, name: str) -> None:
    if not value <= limit:  # also true for NaN
        raise SelfTestError(
            f"{bundle.path}: {session.precision} self-test, subnet {name}: {what}: expected at most "
            f"{limit:g}, found {value:.3g}; use another precision on this CPU"
        )


@np.errstate(over="ignore", invalid="ignore")
def check_dan(bundle: Bundle) -> Dan | None:
    """Open a bundle's DAN, if it has one, and run it on its own texts; raise SelfTestError that states the figures."""
    entry = bundle.dan
    if entry is None:
        return None
    from gearshift.runtime.dan.model import open_dan  # few bundles have one

    texts, expected = read_texts(bundle.path, entry)
    dan = open_dan(bundle.path / entry.file)
    found = dan.run([row[0] if len(row) == 1 else (row[0], row[1]) for row in texts.tolist()])
    error = np.inf if found.shape != expected.shape else float(np.abs(found - expected).max())
    if not error <= FP32_TOLERANCE:
        raise SelfTestError(
            f"{bundle.path}: self-test of {entry.name}: largest difference of a logit: expected at most "
            f"{FP32_TOLERANCE:g}, found {error:.3g}; export the bundle again"
        )
    return dan


def checked_encoder(bundle: Bundle, *, batch: bool = True) -> Encoder:
    """Return a bundle's encoder, after it has made the tokens of the bundle's own texts (`token_vectors`), and those
    of the words of its training, if the bundle records how words are cut.

    `batch`: as in `TextEncoder`. Raises SelfTestError that shows the text. Images need no such test.
    """
    encoder = encoder_of(bundle, batch=batch)
    if not isinstance(encoder, TextEncoder):
        return encoder
    check_token_vectors(bundle, encoder)
    if bundle.manifest.words is None:
        return encoder
    texts, ids, places = read_words(bundle.path)
    for text, wanted_ids, wanted in zip(texts.tolist(), ids.tolist(), places.tolist(), strict=True):
        encoded = encoder.encode([text])
        (split,), (encoding,) = encoded.splits, encoded.encodings
        assert split is not None, "the bundle records how words are cut"
        tokens = word_tokens(encoding, split.joined_places)
        found = [[-1 if token is None else token, *place] for token, place in zip(tokens, split.places, strict=True)]
        if encoding.ids != _without_padding(wanted_ids) or found != [row for row in wanted if row[2] >= 0]:
            raise SelfTestError(
                f"{bundle.path}: self-test of words: expected other words or tokens in {text!r}; "
                "use the version of tokenizers that the bundle was made with, or export it again"
            )
    return encoder


def _without_padding(ids: Sequence[int]) -> list[int]:
    return [one for one in ids if one >= 0]
