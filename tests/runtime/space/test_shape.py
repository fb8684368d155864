"""Shape of an encoder: its form in files, what is refused, and what is counted."""

import dataclasses
from typing import Any

import pytest

from gearshift.errors import InputError
from gearshift.runtime.space.shape import ACTIVATIONS, EncoderShape

BERT = EncoderShape(layers=3, hidden=32, heads=4, neurons=48, vocabulary=60, positions=32, types=2)
FORMS: dict[str, dict[str, Any]] = {
    "MPNet": {"types": 0, "relative_buckets": 32},
    "ModernBERT": {
        "types": 0,
        "gated": True,
        "norm_first": True,
        "biases": False,
        "rotary": (160000.0, 10000.0, 10000.0),
        "windows": (0, 4, 4),
    },
    "ALBERT": {"embedding": 16, "shared": True},
    "DeBERTa": {
        "embedding": 16,
        "projected_first": True,
        "absolute": False,
        "position_terms": ("c2p", "p2c"),
        "position_buckets": 8,
        "position_farthest": 32,
        "position_products": True,
    },
    **{name: {"activation": name} for name in ACTIVATIONS},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_shape_is_read_as_it_was_written(form: dict[str, Any]) -> None:
    shape = dataclasses.replace(BERT, **form)
    assert EncoderShape.from_dict(shape.to_dict()) == shape


def test_a_shape_of_berts_form_is_written_as_it_always_was() -> None:
    sizes = ["layers", "hidden", "heads", "neurons", "vocabulary", "positions", "types"]
    assert list(BERT.to_dict()) == sizes
    assert list(dataclasses.replace(BERT, embedding=16).to_dict()) == [*sizes, "embedding"]
    assert not BERT.form


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"activation": "mish"}, "expected an activation out of gelu, .*, got 'mish'"),
        ({"rotary": (1e4,)}, "rotary: expected a number for each of 3 layers"),
        ({"rotary": (1e4, 1e4, float("nan"))}, "rotary: expected a number"),
        ({"windows": (0, 4, -1)}, "windows: expected a number for each"),
        ({"windows": (0, 4, 4.5)}, "windows: expected a number for each"),
        ({"relative_buckets": -1}, "relative_buckets: expected 0 or more, got -1"),
        ({"shared": True, "norm_first": True}, "layers that share their weights have norms behind them"),
        ({"gated": "yes"}, "gated: expected true or false, got 'yes'"),
        ({"absolute": 1}, "absolute: expected true or false, got 1"),
        ({"position_terms": ("p2p",)}, r"position_terms: expected some of c2p and p2c, got \('p2p',\)"),
        ({"position_terms": ("c2p",)}, "position_buckets, position_farthest: expected two or more buckets"),
        ({"position_terms": ("c2p",), "position_buckets": 8, "position_farthest": 5}, "beyond half of them"),
        ({"position_buckets": 8, "position_farthest": 32}, "and 0 without"),
        ({"heads": 32, "rotary": (1e4,) * 3}, "heads of even size, got 1"),
    ],
)
def test_another_form_is_refused(form: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        dataclasses.replace(BERT, **form)


def test_layers_of_another_form_are_told_apart() -> None:
    for form in FORMS.values():
        other = dataclasses.replace(BERT, **form)
        assert bool(BERT.layer_differences(other)) == bool(other.form)


def test_a_field_that_this_version_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError, match="moebius"):
        EncoderShape.from_dict({**BERT.to_dict(), "moebius": True})
