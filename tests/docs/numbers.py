"""Numbers as they are printed, on a page or in a result file: value, last digit, and whether a share may be meant."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

NUMBER = re.compile(
    r"(?<![\w.])(?<![A-Za-z]-)([-+±]?)((?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:e-?\d\d?)?)(?![\w])(?!\.\d)"
)
UNITS = r"(?:%|ms\b|MB\b|GB\b|s\b|seconds?\b|minutes?\b|microseconds?\b|points?\b|times\b|bytes\b)"
UNITED = re.compile(rf"^(?:(?: to | and | or | / |, | ± )[-+±]?[\d.,]+(?: %)?)*(?: |-)?{UNITS}")
VERSIONS = re.compile(
    r"\b(?:Python|onnxruntime|transformers|torch|qemu|version) \d+(?:\.\d+)+(?:(?: to| to below) \d+(?:\.\d+)+)*"
)


@dataclass(frozen=True)
class Number:
    """A number as it is printed, on a page or in a result file."""

    text: str
    sign: str
    value: float
    half: float
    """Half a unit of the last digit that is printed."""
    percent: bool = False
    """Whether a share of 1 may be meant: the unit is %, or points."""


def numbers(text: str, *, only_figures: bool = False) -> list[Number]:
    """Numbers of a text; `only_figures`: those with a decimal point, a separator or a unit."""
    found = []
    for match in NUMBER.finditer(text):
        sign, digits = match.groups()
        rest = text[match.end() :]
        if not digits or digits.startswith("e") or (only_figures and not _is_figure(digits, rest)):
            continue
        behind = re.match(rf"[^|;(]*?{UNITS}", rest)
        percent = bool(behind and behind[0].endswith(("%", "point", "points")))
        found.append(Number(sign + digits, sign, *_read(digits), percent))
    return found


def _is_figure(digits: str, rest: str) -> bool:
    return any(part in digits for part in ".,e") or bool(UNITED.match(rest))


def _read(digits: str) -> tuple[float, float]:
    mantissa, _, exponent = digits.replace(",", "").partition("e")
    decimals = len(mantissa.partition(".")[2])
    scale = 10.0 ** int(exponent or 0)
    return float(mantissa) * scale, 0.5 * 10.0**-decimals * scale


def cleaned(text: str) -> str:
    """Text on one line, without code, targets of links, comments, and versions with the name of their program."""
    without = re.sub(r"`[^`]*`|<!--.*?-->|https?://\S+", " ", text, flags=re.S)
    return VERSIONS.sub(" ", " ".join(re.sub(r"\]\([^)]*\)", "]", without).split()))


def same(figure: Number, source: Number) -> bool:
    """Whether the source, rounded as the figure is printed, is the figure; a printed sign has to be the same."""
    if figure.sign in ("+", "-") and source.sign in ("+", "-") and figure.sign != source.sign:
        return False
    scales = (1, 100) if figure.percent else (1,)
    return any(abs(source.value * scale - figure.value) <= figure.half * (1 + 1e-9) for scale in scales)


def changed(figure: Number) -> Number:
    """The figure with its last digit one higher."""
    value = figure.value + 2 * figure.half
    return replace(figure, text=f"{figure.sign}{value:.10g}", value=value)
