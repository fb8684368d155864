"""Zero-shot classification: the scores of transformers' pipeline, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers

from gearshift.errors import InputError
from gearshift.runtime import Engine, ZeroShot, open_bundle
from gearshift.runtime.reading.zero_shot import NliHead
from tests.command_line import Command
from tests.export.test_tasks import Made, write_bundle
from tests.runtime.altered import change_manifest
from tests.trainer.encoders import HeadCase

TEXTS = ["we saw the snow", "the frost of winter was there again, and much ice", "ice"]
LABELS = ["snow", "winter", "much frost"]
HYPOTHESIS = "there was {} again"
NLI = ("contradiction", "neutral", "entailment")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    found = write_bundle(tmp_path_factory.mktemp("nli"), "BERT", HeadCase("classification", 3))
    change_manifest(found.path, labels=NLI)
    return found


@pytest.fixture(scope="module")
def engine(made: Made) -> Iterator[Engine]:
    with Engine.load(made.path, precision="fp32", threads=1) as engine:
        engine.pin("w100-d100")
        yield engine


@pytest.fixture(scope="module")
def pipeline(made: Made) -> Any:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(made.path.parent / "model")
    model.config.id2label = dict(enumerate(NLI))
    model.config.label2id = {label: place for place, label in enumerate(NLI)}
    names = {name: f"[{name[:3].upper()}]" for name in ("cls_token", "sep_token", "pad_token", "unk_token")}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made.tokenizer, model_max_length=32, **names)
    return transformers.pipeline("zero-shot-classification", model=model, tokenizer=tokenizer, device="cpu")


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("labels", [LABELS, LABELS[:1]], ids=["three labels", "one label"])
def test_scores_are_those_of_transformers(engine: Engine, pipeline: Any, labels: list[str], several: bool) -> None:
    texts = [*TEXTS, " ".join(TEXTS * 4)]
    wanted = pipeline(texts, labels, hypothesis_template=HYPOTHESIS, multi_label=several)
    found = engine.classify(texts, labels, hypothesis=HYPOTHESIS, multi_label=several)
    for answer, one in zip(found, wanted, strict=True):
        assert isinstance(answer, ZeroShot)
        assert list(answer.scores) == one["labels"]
        assert list(answer.scores.values()) == pytest.approx(one["scores"], abs=1e-5)
        assert (answer.label, answer.score) == (one["labels"][0], answer.scores[one["labels"][0]])
        assert several or len(labels) == 1 or sum(answer.scores.values()) == pytest.approx(1)
    assert [answer.truncated for answer in found] == [False, False, False, True]
    assert engine.classify([], LABELS) == []


def test_one_text_has_one_answer_with_the_facts_of_its_run(engine: Engine) -> None:
    answer = engine.classify(TEXTS[0], "snow, winter", hypothesis=HYPOTHESIS, deadline_ms=60_000)
    assert set(answer.scores) == {"snow", "winter"}
    assert (answer.subnet, answer.reason, answer.deadline_met) == ("w100-d100", "pinned", True)
    assert answer.tokens == sum(engine.run((TEXTS[0], HYPOTHESIS.format(one))).tokens for one in ("snow", "winter"))


@pytest.mark.parametrize(
    ("labels", "place"),
    [
        (("entailment", "neutral", "contradiction"), 2),
        (("ENTAILMENT", "not_entailment"), 1),
        (("other", "entailed"), 0),
    ],
)
def test_the_labels_of_a_net_are_found_by_their_names(made: Made, labels: tuple[str, ...], place: int) -> None:
    manifest = dataclasses.replace(open_bundle(made.path).manifest, labels=labels)
    entailment = next(n for n, label in enumerate(labels) if label.lower().startswith("entail"))
    assert NliHead.of(manifest) == NliHead(entailment, place)


def test_a_bundle_without_a_label_for_entailment_is_refused(tiny_bundle: Path) -> None:
    with (
        Engine.load(tiny_bundle, precision="fp32", threads=1) as engine,
        pytest.raises(InputError, match="expected a classifier of pairs with one label named entail"),
    ):
        engine.classify("a text", LABELS)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"labels": []}, "labels: expected at least one"),
        ({"labels": ["a", "a"]}, "labels: expected at least one, and no two equal"),
        ({"labels": ["a", " "]}, "labels: expected a list of texts"),
        ({"labels": {"a": 1}}, "labels: expected a list of texts"),
        ({"labels": "a,,b"}, "labels: expected a list of texts"),
        ({"hypothesis": "it is so"}, "hypothesis: expected a text with {} where"),
        ({"hypothesis": "{} is {1}"}, "hypothesis: expected a text with {} where"),
        ({"hypothesis": "{0}"}, "hypothesis: expected a text with {} where"),
        ({"hypothesis": "{"}, "hypothesis: expected a text with {} where"),
        ({"multi_label": 1}, "multi_label: expected True or False"),
        ({"text": ("a", "pair")}, "text: expected a text"),
        ({"text": " "}, "empty text"),
        ({"deadline_ms": 0}, "deadline_ms: expected a positive number"),
    ],
    ids=lambda one: str(one)[:40],
)
def test_what_cannot_be_read_is_refused(engine: Engine, given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        engine.classify(**{"text": "a text", "labels": LABELS, **given})


def test_the_command_classifies_by_labels_of_the_call(made: Made, command: Command) -> None:
    call = ("run", made.path, *TEXTS, "--labels", "snow,winter", "--hypothesis", HYPOTHESIS, "--threads", 1)
    lines = command(*call, "--subnet", "w100-d100", "--multi-label").out.splitlines()
    assert [line.split("  ")[0] in ("snow", "winter") for line in lines] == [True] * 3
    found = json.loads(command(*call, "--json").out)["answers"]
    assert [sorted(one["scores"]) for one in found] == [["snow", "winter"]] * 3


def test_the_command_leaves_no_option_out_in_silence(made: Made, command: Command) -> None:
    for more, told in (
        (("--labels", "snow", "--overlap", 3), "--labels: expected none of --overlap, --dimensions"),
        (("--labels", "snow", "--prompt", ""), "--labels: expected none of --overlap, --dimensions"),
        (("--multi-label",), "--multi-label, --hypothesis: expected --labels beside them"),
        (("--hypothesis", "it is {}"), "--multi-label, --hypothesis: expected --labels beside them"),
    ):
        assert told in command("run", made.path, TEXTS[0], *more, "--threads", 1).error
