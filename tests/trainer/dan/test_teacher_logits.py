"""Logits of a teacher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import transformers

from gearshift.errors import ModelError
from gearshift.runtime import Engine
from gearshift.runtime.dan.model import Floats, Text
from gearshift.trainer.dan import teacher_logits as teacher_module
from gearshift.trainer.dan.teacher_logits import teacher_logits
from tests.data.make_tiny_bundle import make_checkpoint
from tests.trainer.brought import Form, configured, dropped, spoilt

TEXTS = ["snow and ice all day", "sun", "a mild breeze"]


def _teacher(path: Path) -> Path:
    make_checkpoint(path, TEXTS * 9, 2)
    return path


def _asked(teacher: Path, cache: Path, labels: tuple[str, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return teacher_logits(teacher, TEXTS, labels, cache=cache, max_length=16, batch_size=2)


def test_logits_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = _teacher(tmp_path / "teacher")
    first = _asked(teacher, tmp_path / "cache", ("LABEL_0", "LABEL_1"))
    assert first.shape == (3, 2) and len({*first[:, 0].tolist()}) == 3
    with monkeypatch.context() as patch:
        patch.setattr(transformers.AutoModelForSequenceClassification, "from_pretrained", None)
        np.testing.assert_array_equal(_asked(teacher, tmp_path / "cache", ("LABEL_0", "LABEL_1")), first)
    swapped = _asked(teacher, tmp_path / "cache", ("LABEL_1", "LABEL_0"))
    np.testing.assert_allclose(swapped, first[:, ::-1], rtol=1e-6)


def test_a_changed_bit_of_the_file_makes_them_be_computed_again(tmp_path: Path) -> None:
    teacher, labels, cache = _teacher(tmp_path / "teacher"), ("LABEL_0", "LABEL_1"), tmp_path / "cache"
    first = _asked(teacher, cache, labels)
    (file,) = cache.iterdir()
    content = bytearray(file.read_bytes())
    content[-2] ^= 64
    file.write_bytes(content)
    np.testing.assert_array_equal(_asked(teacher, cache, labels), first)


def test_answers_are_known_by_what_the_teacher_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that other machines, with a GPU, can compute them; another teacher in the same place is asked itself."""
    labels, cache = ("LABEL_0", "LABEL_1"), tmp_path / "cache"
    first = _asked(_teacher(tmp_path / "teacher"), cache, labels)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "teacher", elsewhere)
    with monkeypatch.context() as patch:
        patch.setattr(transformers.AutoModelForSequenceClassification, "from_pretrained", None)
        np.testing.assert_array_equal(_asked(elsewhere, cache, labels), first)
    weights = safetensors.numpy.load_file(elsewhere / "model.safetensors")
    changed = {name: weight * 1.5 for name, weight in weights.items()}
    safetensors.numpy.save_file(changed, elsewhere / "model.safetensors", {"format": "pt"})
    assert not np.allclose(_asked(elsewhere, cache, labels), first)


def test_answers_are_known_by_what_tokenizer_config_says_too(tmp_path: Path) -> None:
    path = _teacher(tmp_path / "teacher")

    def answers() -> Floats:
        labels = ("LABEL_0", "LABEL_1")
        return teacher_logits(path, ["Snow and SUN"], labels, cache=tmp_path / "cache", max_length=16)

    before = answers()
    config = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps({**config, "do_lower_case": False}))
    assert not np.array_equal(answers(), before)


def test_a_teacher_with_tokens_that_it_has_no_rows_for_is_refused(tmp_path: Path) -> None:
    path = _teacher(tmp_path / "teacher")
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens(["<URL>"])
    tokenizer.save_pretrained(path)
    with pytest.raises(ModelError, match=r"teacher: expected tokens for the \d+ rows .* found '<URL>' \(\d+\) beyond"):
        _asked(path, tmp_path / "cache", ("LABEL_0", "LABEL_1"))


def test_a_teacher_of_other_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a teacher of the labels a, b, found LABEL_0, LABEL_1"):
        _asked(_teacher(tmp_path / "teacher"), tmp_path, ("a", "b"))


def test_a_bundle_teaches_with_its_most_accurate_subnet_in_int8(tiny_bundle: Path, tmp_path: Path) -> None:
    # Of joined weights, which a device's cache may have, the numbers are others.
    with Engine.load(tiny_bundle, precision="int8", sensors=False, cache=False) as engine:
        engine.pin(max(engine.pool.values(), key=lambda entry: (entry.accuracy, entry.macs)).name)
        expected = [engine.run(text).scores for text in TEXTS]
        labels = engine.labels[::-1]
    logits = teacher_logits(tiny_bundle, TEXTS, labels, cache=tmp_path, batch_size=1)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(shares, [[scores[label] for label in labels] for scores in expected], atol=1e-5)


def test_an_interruption_loses_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, labels = _teacher(tmp_path / "teacher"), ("LABEL_0", "LABEL_1")
    whole = _asked(teacher, tmp_path / "whole", labels)
    logits, calls = teacher_module._HuggingFace.logits, []

    def interrupted(self: teacher_module._HuggingFace, texts: Sequence[Text]) -> Floats:
        calls.append(len(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return logits(self, texts)

    monkeypatch.setattr(teacher_module._HuggingFace, "logits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _asked(teacher, tmp_path / "cache", labels)
    calls[:] = [0, 0]
    np.testing.assert_array_equal(_asked(teacher, tmp_path / "cache", labels), whole)
    assert calls[2:] == [1]  # two of the three texts were kept


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no bundle and no classifier"):
        _asked(tmp_path, tmp_path, ("a", "b"))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (dropped("classifier.weight"), r"is no classifier: 1 of its weights are missing \(classifier\.weight\)"),
        (dropped("word_embeddings"), "is no classifier: 1 of its weights are missing"),
        (spoilt("classifier.bias", float("nan")), r"found NaN or infinity in classifier\.bias"),
        (configured(id2label={"0": "a", "1": "a"}), "id2label calls the outputs 0 and 1 'a'"),
        (configured(id2label={"0": "a", "1": "b"}, label2id={"a": 1, "b": 0}), "'a' is output 0 by id2label and 1 by"),
        (lambda path: (path / "tokenizer.json").write_text("{"), "no tokenizer that transformers can read"),
    ],
)
def test_a_teacher_that_would_teach_nonsense_is_refused(form: Form, message: str, tmp_path: Path) -> None:
    teacher = _teacher(tmp_path / "teacher")
    form(teacher)
    with pytest.raises(ModelError, match=message) as raised:
        _asked(teacher, tmp_path / "cache", ("a", "b"))
    assert "\n" not in str(raised.value)


def test_a_teacher_in_bfloat16_answers(tmp_path: Path) -> None:
    teacher, labels = _teacher(tmp_path / "teacher"), ("LABEL_0", "LABEL_1")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(teacher).bfloat16()
    model.save_pretrained(teacher)
    model.float().save_pretrained(tmp_path / "rounded")
    (tmp_path / "rounded" / "tokenizer.json").write_bytes((teacher / "tokenizer.json").read_bytes())
    (tmp_path / "rounded" / "tokenizer_config.json").write_bytes((teacher / "tokenizer_config.json").read_bytes())
    expected = _asked(tmp_path / "rounded", tmp_path / "cache", labels)
    np.testing.assert_allclose(_asked(teacher, tmp_path / "cache", labels), expected, atol=1e-6)


def _run(path: Path) -> None:
    (path / "supernet.json").write_text(json.dumps({"schema_version": 1, "task": "token-classification"}))


@pytest.mark.parametrize(
    ("form", "task"),
    [
        (configured(problem_type="multi_label_classification"), "multi-label-classification"),
        (configured(problem_type="regression"), "regression"),
        (_run, "token-classification"),
    ],
)
def test_a_teacher_of_another_task_is_refused_whatever_its_labels(form: Form, task: str, tmp_path: Path) -> None:
    teacher = _teacher(tmp_path / "teacher")
    form(teacher)
    with pytest.raises(ModelError, match=f"teacher: expected a teacher of classification, found one of {task}"):
        _asked(teacher, tmp_path / "cache", ("LABEL_0", "LABEL_1"))


def test_a_bundle_of_another_task_is_refused_as_a_teacher(tiny_bundle: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, teacher)
    manifest = json.loads((teacher / "manifest.json").read_text())
    (teacher / "manifest.json").write_text(json.dumps({**manifest, "task": "multi-label-classification"}))
    with pytest.raises(ModelError, match="expected a teacher of classification, found one of multi-label"):
        _asked(teacher, tmp_path / "cache", tuple(manifest["labels"]))
