"""`gearshift run`: answers to texts, each within its deadline."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gearshift.drawing.live import LiveView
from gearshift.errors import DeadlineTooShortError, InputError
from gearshift.runtime import Engine, ZeroShot
from gearshift.runtime.images.decode import write_image
from gearshift.runtime.inference.answers import (
    Answer,
    Classification,
    Embedding,
    ImageToImage,
    MultiLabelClassification,
    MultiTask,
    QuestionAnswering,
    Regression,
    TokenClassification,
    plain_answer,
)
from gearshift.runtime.reading.zero_shot import HYPOTHESIS
from gearshift.runtime.serving.request import checked_deadline
from gearshift.terminal import standard_input, streams
from gearshift.terminal.engine_options import add_cascade, add_deadline, add_engine_options, load_engine
from gearshift.terminal.options import command


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, run)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument(
        "texts", nargs="*", default=[], metavar="TEXT", help="texts; - (or none) reads one a line from standard input"
    )
    parser.add_argument(
        "--pair", action="store_true", help="texts come two by two, or as lines with a tab; a question comes first"
    )
    parser.add_argument(
        "--live", action="store_true", help="on a terminal: show rate, latency, deadlines, subnets and load as it goes"
    )
    parser.add_argument(
        "--labels",
        metavar="A,B,...",
        help="of a net for natural language inference: labels of your own to classify the texts by (zero-shot)",
    )
    parser.add_argument(
        "--hypothesis",
        default=HYPOTHESIS,
        metavar="TEXT",
        help=f"--labels: text with {{}} where the label goes (default: {HYPOTHESIS!r})",
    )
    parser.add_argument("--multi-label", action="store_true", help="--labels: several of them may apply to a text")
    parser.add_argument(
        "--overlap",
        type=int,
        metavar="N",
        help="tags, questions and vectors: read long texts in windows that share N tokens (default: cut them)",
    )
    parser.add_argument("--dimensions", type=int, metavar="N", help="vectors: keep their first N numbers alone")
    parser.add_argument(
        "--prompt-name", metavar="NAME", help="vectors: the model's prompt of this name, before each text"
    )
    parser.add_argument("--prompt", metavar="TEXT", help="vectors: a prompt of your own, before each text")
    parser.add_argument(
        "--image", type=Path, metavar="FILE", help="image to image: file to write the image to, such as made.png"
    )
    add_deadline(parser)
    add_cascade(parser)
    add_engine_options(parser)


def run(options: argparse.Namespace) -> int:
    """Answer texts, each as soon as it is read."""
    answers: list[dict[str, Any]] = []
    checked_deadline(options.deadline_ms)
    if options.image is not None and len(options.texts) != 1:
        raise InputError(f"--image: expected one image to answer, got {len(options.texts)}")
    with load_engine(
        options, options.save_profile, cascade=options.cascade, null_threshold=options.null_threshold
    ) as engine:
        ask = _asking(engine, options)
        view = LiveView(sys.stderr) if options.live else None
        # On a terminal the view takes the place of the answers; a file or a pipe still gets them.
        hidden = view is not None and view.shown and sys.stdout.isatty()
        try:
            for text in _paired(options.texts) if options.pair else texts_of(options.texts):
                try:
                    answer = ask(text)
                except DeadlineTooShortError as error:  # --on-miss reject: the next text may fit
                    if options.json:
                        answers.append({"text": text, "error": str(error)})
                    else:
                        streams.result(str(error))
                    continue
                if options.image is not None:
                    _save(answer, options.image)
                if view is not None:
                    view.add(answer, engine.slow_down)
                if options.json:
                    answers.append({"text": text, **plain_answer(answer)})
                elif not hidden:
                    streams.result(_answer_line(answer))
        finally:  # a refused text must not lose earlier answers
            if view is not None:
                view.finish(engine.slow_down)
            if options.json:
                shown = {"precision": engine.precision, "threads": engine.threads, "answers": answers}
                streams.result(json.dumps(shown))
    return 0


def _asking(engine: Engine, options: argparse.Namespace) -> Callable[[Any], Any]:
    """Return the function that answers a text as the options say; raise InputError for those that would be left out."""
    ways = {name: getattr(options, name) for name in ("overlap", "dimensions", "prompt_name", "prompt")}
    if options.labels is None:
        if options.multi_label or options.hypothesis != HYPOTHESIS:
            raise InputError("--multi-label, --hypothesis: expected --labels beside them; name the labels")
        return functools.partial(engine.run, deadline_ms=options.deadline_ms, **ways)
    if any(way is not None for way in ways.values()):
        raise InputError("--labels: expected none of --overlap, --dimensions, --prompt-name and --prompt beside it")
    return functools.partial(
        engine.classify,
        labels=options.labels,
        hypothesis=options.hypothesis,
        multi_label=options.multi_label,
        deadline_ms=options.deadline_ms,
    )


def texts_of(given: Sequence[str]) -> Iterator[str]:
    """Give the texts; `-`, or no text at all, stands for the non-blank lines of standard input."""
    for text in given or ("-",):
        if text == "-":
            yield from standard_input.texts()
        else:
            yield text


def _paired(given: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Give two texts at a time, or the two texts, separated by a tab, of each line of standard input."""
    if given and "-" not in given:
        if len(given) % 2:
            raise InputError(f"--pair: expected texts two by two, got {len(given)}")
        yield from zip(given[::2], given[1::2], strict=True)
        return
    for line in standard_input.texts():
        first, tab, second = line.partition("\t")
        if not tab:
            raise InputError(f"--pair: expected two texts with a tab between them, got {line[:40]!r}")
        yield first, second


def _save(answer: Any, path: Path) -> None:
    """Write the image of an answer; raise InputError for another answer, StorageError."""
    if not isinstance(answer, ImageToImage):
        raise InputError("--image: expected a bundle for image-to-image; leave it out")
    write_image(path, answer.image)


def _shown(answer: Answer | ZeroShot) -> str:
    """Format the task's part of an answer on one line."""
    match answer:
        case Classification() | ZeroShot():
            return f"{answer.label}  {answer.score:.2f}"
        case MultiLabelClassification():
            return ", ".join(f"{label}  {answer.scores[label]:.2f}" for label in answer.labels) or "no label"
        case Regression():
            return f"{answer.value:.4g}"
        case TokenClassification():
            return ", ".join(f"{entity.text} ({entity.label})" for entity in answer.entities) or "no entity"
        case QuestionAnswering():
            return f"{answer.answer or 'no answer'}  {answer.score:.2f}"
        case MultiTask():
            return "  ".join(f"{name}: {_shown(head)}" for name, head in answer.heads.items())
        case ImageToImage():
            height, width, _ = answer.image.shape
            return f"image of {height} x {width} pixels"
        case Embedding():
            return f"[{', '.join(f'{number:.3f}' for number in answer.vector[:4])}, ...] of {len(answer.vector)}"


def _answer_line(answer: Answer | ZeroShot) -> str:
    late = "" if answer.deadline_met in (None, True) else "  late"
    cut = "  truncated" if answer.truncated else f"  {answer.windows} windows" if answer.windows > 1 else ""
    return f"{_shown(answer)}  {answer.subnet}  {answer.latency_ms:.1f} ms  {answer.reason}{late}{cut}"
