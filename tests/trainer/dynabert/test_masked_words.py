"""Candidates of a masked language model, one that knows a single rule."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from gearshift.errors import ModelError
from gearshift.trainer.data.augment import CANDIDATES, augment
from gearshift.trainer.data.rows import Row
from gearshift.trainer.dynabert.masked_words import masked_words
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.learning.devices import training_device
from tests.trainer.brought import spoilt
from tests.trainer.dynabert.test_stages import changed
from tests.trainer.tiny import FILLERS, KEYWORDS, make_data

COLD = KEYWORDS["cold"]


@pytest.fixture(scope="module")
def masked_lm(checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model that puts the words for cold, in their order, wherever it is asked."""
    path = tmp_path_factory.mktemp("masked")
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint_path)
    config = transformers.AutoConfig.from_pretrained(checkpoint_path)
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(config)
    with torch.no_grad():
        model.cls.predictions.bias.zero_()
        for place, word in enumerate(COLD):
            model.cls.predictions.bias[tokenizer.convert_tokens_to_ids(word)] = 100.0 - place
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_the_likeliest_words_come_first_without_the_word_itself(masked_lm: Path) -> None:
    candidates = masked_words(masked_lm)
    text = "we saw much ice"
    assert list(candidates("much", text, 7)[:4]) == list(COLD)
    assert list(candidates("ice", text, 12)[:3]) == [word for word in COLD if word != "ice"]
    assert len(COLD) < len(candidates("saw", text, 3)) <= CANDIDATES
    assert candidates("we", text, 1) == ()  # no word begins there
    assert all(
        word in {*FILLERS, *(w for group in KEYWORDS.values() for w in group)} for word in candidates("saw", text, 3)
    )


def test_each_text_is_computed_once(masked_lm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    really_forward = transformers.BertForMaskedLM.forward

    def forward(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        return really_forward(*arguments, **named)

    monkeypatch.setattr(transformers.BertForMaskedLM, "forward", forward)
    made = augment([Row("snow and desert", None, "cold")] * 3, masked_words(masked_lm), copies=4, seed=0, share=1.0)
    assert count == 1
    assert len(made) == 12
    assert {word for row in made for word in row.text.split()} - {"and"} >= set(COLD)


def test_training_takes_its_words_from_there(masked_lm: Path, checkpoint_path: Path, tmp_path: Path) -> None:
    runs = [
        train_supernet(
            checkpoint_path, make_data(), changed(width_epochs=1, augment=1, masked_lm=name), tmp_path / "run"
        )
        for name in ("", str(masked_lm))
    ]
    one, other = (run.checkpoint.model.state_dict() for run in runs)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_what_is_no_masked_language_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no masked language model that transformers can read"):
        masked_words(tmp_path)


def test_an_encoder_without_a_head_for_words_is_refused_before_the_training(
    checkpoint_path: Path, tmp_path: Path
) -> None:
    settings = changed(width_epochs=1, augment=1, masked_lm=str(checkpoint_path))
    message = r"is no masked language model: \d+ of its weights are missing \(cls\.predictions\..*\); give one that was"
    with pytest.raises(ModelError, match=message):
        train_supernet(checkpoint_path, make_data(), settings, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_words_are_proposed_on_the_device_of_the_training(
    masked_lm: Path, checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[object] = []
    really = transformers.BertForMaskedLM.to

    def to(model: transformers.BertForMaskedLM, device: torch.device) -> object:
        devices.append(device)
        return really(model, device)

    monkeypatch.setattr(transformers.BertForMaskedLM, "to", to)
    settings = changed(width_epochs=1, augment=1, masked_lm=str(masked_lm))
    train_supernet(checkpoint_path, make_data(), settings, tmp_path / "run")
    assert devices[-1] == training_device()
    assert isinstance(devices[-1], torch.device)


def test_a_masked_language_model_with_a_weight_that_is_no_number_is_refused(masked_lm: Path, tmp_path: Path) -> None:
    spoilt_copy = shutil.copytree(masked_lm, tmp_path / "spoilt")
    spoilt("cls.predictions.bias", float("inf"))(spoilt_copy)
    with pytest.raises(ModelError, match=r"found NaN or infinity in cls\.predictions"):
        masked_words(spoilt_copy)


def test_a_masked_language_model_with_tokens_that_it_has_no_rows_for_is_refused(
    masked_lm: Path, tmp_path: Path
) -> None:
    path = shutil.copytree(masked_lm, tmp_path / "masked")
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens(["<URL>"])
    tokenizer.save_pretrained(path)
    with pytest.raises(ModelError, match=r"masked: expected tokens for the \d+ rows .* found '<URL>' \(\d+\) beyond"):
        masked_words(path)
