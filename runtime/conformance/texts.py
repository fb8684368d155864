"""Text vectors of a bundle: texts with their tokens, the output of every subnet, and the answer; and what is refused.

A client in another language gives the same (docs/bundle.md), and so does this runtime on another device.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError, SelfTestError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.inference.answers import RunFacts, read_answer
from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.self_test import FP16_ERROR, FP32_TOLERANCE, INT8_AGREEMENT, INT8_ERROR
from gearshift.runtime.inference.text import CHARACTERS_PER_TOKEN, Text
from gearshift.runtime.inference.token_vectors import TokenVector
from gearshift.runtime.inference.words import Words
from gearshift.runtime.serving.request import checked_deadline
from gearshift.schema import Schema

TEXTS = "texts.json"

SCHEMA = Schema(version=1, advice="make the vectors again with `gearshift vectors`")

ONE_ROW = 5
"""Multiple of the self-test's limits at int8 and fp16: those are of means over many rows, from which one row strays."""

PLACES = 6
"""Decimal places of the outputs in the file: a thousandth of what fp32 may differ by."""

_LONG = "over and over again, until it is too long, "

SINGLE = (
    "turn the lights off",
    "  Is   it ON?\tYes, it's the U.S. (3.5 km)...  ",
    "caf\u00e9 nai\u0308ve \u00c5ngstr\u00f6m stra\u00dfe \u1e9e \u0130stanbul \ufb01ne",
    "\u039f\u0394\u039f\u03a3 \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u041f\u0440\u0438\u0432\u0435\u0442",
    "\U00020bb7 \u91ce\u5bb6\u306f\u3069\u3053 word\u6f22word \uc548\ub155",
    "\U0001f600ok \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd \u2764\ufe0f",
    "[CLS] and [SEP] [MASK] <s> </s> <mask> [UNK] [PAD]",
    "zero\u200bwidth con\x01trol\x07 soft\u00adhyphen \ufeff \ufffd end\u2028line",
    "x" * 101 + " y",
    "-5 +7.5 --x -- .5 \u22123, ...a (+b) 'c' \"d\"",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e9\u05c1\u05b8\u05dc \u0928\u092e\u0938\u094d\u0924\u0947",
    ".",
)
"""Texts of every task."""

PAIRS = (
    ("where is it?", "It is in the kitchen, behind the door."),
    ("\u54ea\u91cc?", "caf\u00e9 \U0001f600 isn't 3.5"),
    ("Is it on?", "x"),
)

WORDS = (("Karl-Anna", "isn't", "in", "the", "U.S.", ",", "(3.5", "km)"), ("caf\u00e9", "\U0001f600", "\u6f22\u5b57"))

REFUSED: Sequence[tuple[str, Any]] = (
    ("text", ""),
    ("text", " \t\n"),
    ("text", 3),
    ("text", None),
    ("text", ["where?", ""]),
    ("text", ["one", "two", "three"]),
    ("text", ["one", 2]),
    ("deadline_ms", 0),
    ("deadline_ms", -1),
    ("deadline_ms", "soon"),
    ("deadline_ms", True),
    ("deadline_ms", [5]),
    ("subnet", "w000-d000"),
    ("subnet", "it's"),
)
"""Values that a client must refuse: kind, and value as JSON has it; two strings in a list are a pair of texts."""

QUESTION_ALONE: tuple[str, Any] = ("text", "where is it?")
"""Value that a client must refuse for question answering: "no answer" would pass for one that was looked for."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TextVector:
    """Text with its tokens, and output and answer of each subnet."""

    tokens: TokenVector
    truncated: bool
    outputs: Mapping[str, Mapping[str, Any]]
    """Precision -> subnet -> `output`, a flat list, and `answer`."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {**self.tokens.to_dict(), "truncated": self.truncated, "precisions": self.outputs}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> TextVector:
        """Read the vector that `to_dict` wrote."""
        return cls(TokenVector.from_dict(raw), raw["truncated"], raw["precisions"])


def texts_of(bundle: Bundle) -> list[Text]:
    """Return texts for a bundle: such as its task takes, some longer than it reads."""
    long = _LONG * (1 + bundle.manifest.max_length // 10)
    texts: list[Text] = [*SINGLE, long, long * (CHARACTERS_PER_TOKEN // 4)]
    if bundle.manifest.task == "token-classification":
        return [*texts, *(Words(words) for words in WORDS)]
    third, half = ("a " * (bundle.manifest.max_length * share // 100) for share in (35, 60))
    pairs: list[Text] = [*PAIRS, ("short", long), (long, "short"), (long, long), (half, half + "b"), (long, third)]
    pairs += [(half + "b c", half), (third, half + half)]
    return pairs if bundle.manifest.task == "question-answering" else [*texts, *pairs]


def make_text_vectors(opened: Mapping[str, Opened], progress: Progress) -> list[TextVector]:
    """Make the vectors of a bundle that is opened at each of its precisions; texts that it refuses are left out."""
    first = next(iter(opened.values()))
    vectors, texts = [], texts_of(first.bundle)
    for number, text in enumerate(texts):
        progress("texts", number, len(texts))
        try:
            vectors.append(_vector(opened, text))
        except InputError:
            continue
    return vectors


def _vector(opened: Mapping[str, Opened], text: Text) -> TextVector:
    first = next(iter(opened.values()))
    tokens = TokenVector.of(text, first.texts, first.bundle.manifest)
    found = {precision: dict(_answers(one, text)) for precision, one in opened.items()}
    plain = {
        precision: {name: {"output": _flat(output), "answer": answer} for name, (output, answer) in answers.items()}
        for precision, answers in found.items()
    }
    return TextVector(tokens, first.texts.encode([text]).truncated[0], plain)


def _flat(output: NDArray[np.float32]) -> list[float]:
    return [round(number, PLACES) for number in output.ravel().tolist()]


def _answers(opened: Opened, text: Text) -> Iterator[tuple[str, tuple[NDArray[np.float32], dict[str, Any]]]]:
    """Yield the output of each subnet and of the DAN for a text, without padding, and its answer in plain values."""
    encoded, manifest = opened.texts.encode([text]), opened.bundle.manifest
    for name, entry in opened.bundle.entries(opened.session.precision).items():
        (output,) = opened.executors[name](encoded, None)
        answer = read_answer(
            manifest.task,
            output,
            encoded.encodings[0],
            encoded.parts[0],
            manifest.labels,
            null_threshold=entry.null_threshold,
            scheme=manifest.scheme,
            split=encoded.splits[0],
            starts=encoded.starts[0],
        )
        facts = dict.fromkeys(RunFacts.__dataclass_fields__)
        fields = {key: value for key, value in vars(answer(**facts)).items() if key not in facts}
        yield name, (output, _plain(fields))


def _plain(value: Any) -> Any:
    """Return an answer's values as JSON has them, numbers rounded."""
    if isinstance(value, float):
        return round(value, PLACES)
    if isinstance(value, np.ndarray):
        return [round(number, PLACES) for number in value.tolist()]
    if dataclasses.is_dataclass(value):
        return _plain(vars(value))
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def refusals(opened: Opened) -> list[dict[str, Any]]:
    """Return what a bundle refuses, with the name and the words of the error."""
    asks = opened.bundle.manifest.task == "question-answering"
    refused = [*REFUSED, QUESTION_ALONE] if asks else REFUSED
    return [{"kind": kind, "value": value, **_refusal(opened, kind, value)} for kind, value in refused]


def _refusal(opened: Opened, kind: str, value: Any) -> dict[str, str]:
    try:
        if kind == "text":
            opened.texts.encode([tuple(value) if isinstance(value, list) else value])
        elif kind == "deadline_ms":
            checked_deadline(value)
        else:
            opened.bundle.entry(value, opened.session.precision)
    except InputError as error:
        return {"error": type(error).__name__, "message": str(error)}
    raise AssertionError(f"{kind} {value!r} was not refused")


def write_text_vectors(folder: Path, bundle: Bundle, vectors: Sequence[TextVector], refused: Sequence[Any]) -> None:
    """Write text vectors to a folder; raise StorageError."""
    fields = {
        "schema_version": SCHEMA.version,
        "name": bundle.manifest.name,
        "digest": bundle.digest,
        "task": bundle.manifest.task,
    }
    head = json.dumps(fields, ensure_ascii=False, indent=1)[:-2]
    lines = [",\n".join(json.dumps(one, ensure_ascii=False) for one in rows) for rows in (_dicts(vectors), refused)]
    content = f'{head},\n "texts": [\n{lines[0]}\n],\n "refused": [\n{lines[1]}\n]}}\n'
    replace_file(folder / TEXTS, content.encode())


def _dicts(vectors: Sequence[TextVector]) -> list[dict[str, Any]]:
    return [vector.to_dict() for vector in vectors]


def check_text_vectors(folder: Path, opened: Mapping[str, Opened]) -> int:
    """Compare the vectors of a folder with what a bundle gives here; return their number.

    Raises SchemaError for a file of another form, SelfTestError, which shows the text, where they differ.
    """
    first = next(iter(opened.values()))
    place = folder / TEXTS
    fields = SCHEMA.read(place, lambda raw: raw)
    if fields.get("digest") != first.bundle.digest:
        raise SelfTestError(
            f"{place}: expected vectors of the bundle {first.bundle.digest}, found those of {fields.get('digest')}; "
            f"{SCHEMA.advice}"
        )
    vectors = SCHEMA.read_part(fields, lambda raw: [TextVector.from_dict(each) for each in raw["texts"]], place)
    same: list[bool] = []
    single = single_spreads(vectors)
    for vector in vectors:
        try:
            found = _vector(opened, vector.tokens.text)
        except InputError as error:
            raise _differs(place, vector, f"it is refused ({error})") from error
        same += _compared(place, vector, found, opened, single)
    if sum(same) < INT8_AGREEMENT * len(same):
        raise SelfTestError(f"{place}: expected the same answer at int8 in {INT8_AGREEMENT:.0%} of {len(same)}")
    if SCHEMA.read_part(fields, lambda raw: raw["refused"], place) != refusals(first):
        raise SelfTestError(f"{place}: expected the same to be refused in the same words; {SCHEMA.advice}")
    return len(vectors)


def single_spreads(vectors: Sequence[TextVector]) -> dict[tuple[str, str], float]:
    """Return the standard deviation over all texts of outputs of one number, which have none of their own.

    By precision and subnet; without those of more numbers.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for vector in vectors:
        for precision, answers in vector.outputs.items():
            for name, one in answers.items():
                if len(one["output"]) == 1:
                    found.setdefault((precision, name), []).extend(one["output"])
    return {key: float(np.std(values)) for key, values in found.items()}


def _compared(
    place: Path,
    vector: TextVector,
    found: TextVector,
    opened: Mapping[str, Opened],
    single: Mapping[tuple[str, str], float],
) -> Iterator[bool]:
    """Raise SelfTestError if a vector differs; else yield whether each answer at int8 or fp16 is the same."""
    if (found.tokens, found.truncated) != (vector.tokens, vector.truncated):
        raise _differs(place, vector, "other tokens")
    for precision in opened:
        if found.outputs[precision].keys() != vector.outputs.get(precision, {}).keys():
            raise _differs(place, vector, f"other subnets at {precision}")
        for name, theirs in vector.outputs[precision].items():
            mine = found.outputs[precision][name]
            error = output_error(theirs["output"], mine["output"], precision, single.get((precision, name)))
            if not error <= 1:
                raise _differs(place, vector, f"the output of {name} at {precision} is {error:.2g} times the tolerance")
            if precision != "fp32":
                yield same_answer(theirs["answer"], mine["answer"], math.inf)
            elif not same_answer(theirs["answer"], mine["answer"], FP32_TOLERANCE):
                raise _differs(place, vector, f"another answer of {name} at {precision}")


def output_error(
    expected: Sequence[float], found: Sequence[float], precision: str, spread: float | None = None
) -> float:
    """Return the difference of an output over the tolerance of a precision; infinity for one of another size.

    `spread`: standard deviation to compare with, for outputs of one number; None: that of the expected numbers.
    """
    if len(expected) != len(found):
        return math.inf
    wanted, given = np.asarray(expected), np.asarray(found)
    if precision == "fp32":
        return float(np.abs(given - wanted).max() / FP32_TOLERANCE)
    spread = max(float(wanted.std()) if spread is None else spread, FP32_TOLERANCE)
    limit = ONE_ROW * (INT8_ERROR if precision == "int8" else FP16_ERROR)
    return float(np.abs(given - wanted).mean() / spread / limit)


def same_answer(expected: Any, found: Any, tolerance: float) -> bool:
    """Return whether two answers are the same, with numbers within a tolerance."""
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and expected.keys() == found.keys()
            and all(same_answer(value, found[name], tolerance) for name, value in expected.items())
        )
    if isinstance(expected, list):
        return len(expected) == len(found) and all(map(same_answer, expected, found, [tolerance] * len(found)))
    if isinstance(expected, float) or isinstance(found, float):
        return bool(abs(expected - found) <= tolerance)
    return bool(expected == found)


def _differs(place: Path, vector: TextVector, what: str) -> SelfTestError:
    text = vector.tokens.text
    shown = repr(text.text if isinstance(text, Words) else text)
    return SelfTestError(f"{place}: {shown[:60]}: {what}; use another precision on this CPU, or export again")
