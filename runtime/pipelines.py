"""`pipeline` with the names and the answers of transformers' one, over an engine.

classify = pipeline("text-classification", model="sst2.gearshift", deadline_ms=20)
classify("a charming journey")  # [{"label": "positive", "score": 0.99}]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gearshift.errors import InputError
from gearshift.number_checks import is_whole, shown
from gearshift.runtime.engine import Engine
from gearshift.runtime.inference.answers import (
    Classification,
    Embedding,
    MultiLabelClassification,
    QuestionAnswering,
    Regression,
    TokenClassification,
)
from gearshift.runtime.inference.spans import Entity, Word
from gearshift.runtime.reading.zero_shot import ZeroShot

Plain = dict[str, Any]

ZERO_SHOT = "zero-shot-classification"
QUESTIONS = "question-answering"

TASKS: Mapping[str, tuple[str, ...]] = {
    "text-classification": ("classification", "multi-label-classification", "regression"),
    "sentiment-analysis": ("classification", "multi-label-classification", "regression"),
    "token-classification": ("token-classification",),
    "ner": ("token-classification",),
    QUESTIONS: ("question-answering",),
    "feature-extraction": ("embedding",),
    ZERO_SHOT: ("classification",),
}
"""Name of a task in transformers -> tasks of bundles that do it."""

HYPOTHESIS = "This example is {}."
"""Default hypothesis of transformers' pipeline."""


class Pipeline:
    """Pipeline over an engine, which `close` closes; called with texts, it gives plain answers.

    `deadline_ms` of a call takes the place of that of the pipeline.
    """

    def __init__(self, task: str, engine: Engine, deadline_ms: float | None = None) -> None:
        engine.bundle.manifest.require_one_head("a pipeline")
        own = engine.bundle.manifest.task
        if own not in TASKS.get(task, ()):
            able = ", ".join(name for name, tasks in TASKS.items() if own in tasks)
            raise InputError(f"pipeline: expected one of {able} for a bundle for {own}, got {task!r}")
        self.task, self.engine, self.deadline_ms = task, engine, deadline_ms

    def __call__(self, inputs: Any = None, *second: Any, **options: Any) -> Any:
        """Answer a text or a list of texts.

        `inputs`: texts, or of a classifier of pairs `{"text": ..., "text_pair": ...}`. Question answering takes
        `question` and `context`, texts or lists of them, or such a mapping. `top_k` of a classifier: the number of
        labels, None for all. `aggregation_strategy` of tags: "simple" for entities (default), "none" for words.
        Zero-shot classification takes `candidate_labels`, `hypothesis_template`, `multi_label`. Others go to
        `Engine.run`, such as `overlap`. As in transformers, labels and the context of a question may be the second
        argument.
        """
        deadline_ms = options.pop("deadline_ms", self.deadline_ms)
        inputs = self._with_second(inputs, second, options)
        if self.task == ZERO_SHOT:
            return self._zero_shot(inputs, deadline_ms, **_zero_shot_options(options))
        if self.task == QUESTIONS:
            inputs = _questions(inputs, options)
        single = not isinstance(inputs, list)
        texts = [_text(each) for each in ([inputs] if single else inputs)]
        made_plain = _shown(self.task, options)
        answers = self.engine.run(texts, deadline_ms=deadline_ms, **options)
        plain = [made_plain(answer) for answer in answers]
        if not single:
            return plain
        return plain if isinstance(plain[0], dict) and "label" in plain[0] else plain[0]

    def _with_second(self, inputs: Any, second: tuple[Any, ...], options: Plain) -> Any:
        """Return the inputs of a call with its second argument among them, or among its options."""
        if not second:
            return inputs
        name = {ZERO_SHOT: "candidate_labels", QUESTIONS: "context"}.get(self.task)
        if name is None or len(second) > 1 or name in options:
            takes = f"texts and {name}" if name else "texts alone, a list of them for several"
            raise InputError(f"pipeline: expected {takes}, got {len(second) + 1} arguments; name the options of a call")
        if name == "context":
            return {"question": inputs, "context": second[0]}
        options[name] = second[0]
        return inputs

    def _zero_shot(
        self,
        sequences: Any,
        deadline_ms: float | None,
        candidate_labels: Sequence[str] | str,
        hypothesis_template: str = HYPOTHESIS,
        multi_label: bool = False,
    ) -> Any:
        answers = self.engine.classify(
            sequences,
            candidate_labels,
            hypothesis=hypothesis_template,
            multi_label=multi_label,
            deadline_ms=deadline_ms,
        )
        if not isinstance(sequences, list):
            return _zero_shot(sequences, answers)
        return [_zero_shot(text, answer) for text, answer in zip(sequences, answers, strict=True)]

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pipeline(task: str, model: str | Path | Engine, *, deadline_ms: float | None = None, **options: Any) -> Pipeline:
    """Make a pipeline of a task, by transformers' name for it, over an engine or a bundle as `Engine.from_pretrained`.

    `options`: those of `Engine.load`. Raises InputError for a task that the bundle does not do, and as `load` does.
    """
    if task not in TASKS:
        raise InputError(f"pipeline: expected one of {', '.join(TASKS)}, got {task!r}")
    if isinstance(model, Engine):
        return Pipeline(task, model, deadline_ms)
    engine = Engine.from_pretrained(model, **options)
    try:
        return Pipeline(task, engine, deadline_ms)
    except BaseException:
        engine.close()
        raise


def _zero_shot_options(options: Plain) -> Plain:
    """Return the options of zero-shot classification; raise TypeError for others, InputError without labels."""
    known = ("candidate_labels", "hypothesis_template", "multi_label")
    for name in options:
        if name not in known:
            raise TypeError(f"unexpected keyword argument {name!r}; expected deadline_ms, {', '.join(known)}")
    if "candidate_labels" not in options:
        raise InputError("pipeline: expected candidate_labels, got none; name the labels to choose from")
    return options


def _text(given: Any) -> Any:
    """Return a text as the engine takes it."""
    if isinstance(given, dict) and set(given) == {"text", "text_pair"}:
        return given["text"], given["text_pair"]
    return given


def _questions(inputs: Any, options: Plain) -> Any:
    """Return questions with their texts, as pairs."""
    if inputs is None:
        inputs = {"question": options.pop("question", None), "context": options.pop("context", None)}
    if isinstance(inputs, list):
        return [_questions(each, options) for each in inputs]
    if not isinstance(inputs, dict):
        return inputs
    if set(inputs) != {"question", "context"} or None in inputs.values():
        raise InputError(f"pipeline: expected a question and a context, got {', '.join(map(str, inputs))}")
    question, context = inputs["question"], inputs["context"]
    if isinstance(question, list) and isinstance(context, list):
        if len(question) != len(context):
            raise InputError(
                f"pipeline: expected as many contexts as questions, got {len(context)} and {len(question)}"
            )
        return list(zip(question, context, strict=True))
    if isinstance(question, list):
        return [(each, context) for each in question]
    return (question, context)


def _shown(task: str, options: Plain) -> Callable[[Any], Any]:
    """Return the function that makes an answer plain; takes the options of its task out of the others."""
    top_k = options.pop("top_k", 1) if "classification" in TASKS[task] else 1
    strategy = options.pop("aggregation_strategy", "simple") if "token-classification" in TASKS[task] else "simple"
    if top_k is not None and not is_whole(top_k, 1):
        raise InputError(f"top_k: expected a whole number of at least 1, or None for all labels, got {shown(top_k)}")
    if strategy not in ("simple", "none"):
        raise InputError(f"aggregation_strategy: expected simple or none, got {strategy!r}")

    def plain(answer: Any) -> Any:
        match answer:
            case Classification() | MultiLabelClassification():
                ranked = sorted(answer.scores.items(), key=lambda each: -each[1])
                found = [{"label": label, "score": score} for label, score in ranked[:top_k]]
                return found[0] if top_k == 1 else found
            case Regression():
                return {"label": "LABEL_0", "score": answer.value}
            case TokenClassification():
                return [_span(one) for one in (answer.entities if strategy == "simple" else answer.words)]
            case QuestionAnswering():
                return {name: getattr(answer, name) for name in ("score", "start", "end", "answer")}
            case Embedding():
                return answer.vector.tolist()
        raise TypeError(f"no answer: {answer!r}")

    return plain


def _span(one: Word | Entity) -> Plain:
    kind = "entity_group" if isinstance(one, Entity) else "entity"
    return {kind: one.label, "score": one.score, "word": one.text, "start": one.start, "end": one.end}


def _zero_shot(text: str, answer: ZeroShot) -> Plain:
    return {"sequence": text, "labels": list(answer.scores), "scores": list(answer.scores.values())}
