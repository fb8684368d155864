"""Tests that the table of encoders and heads, which other tests go through, has all that is supported."""

import itertools

import transformers

from gearshift.runtime.bundle.tasks import TASKS
from gearshift.trainer.model.names import ARCHITECTURES
from tests.trainer.encoders import CASES, ENCODERS, FORMS, HEADS

OF_IMAGES = {"image-classification", "image-to-image"}
NET_OF = {"multi-label-classification": "classification"}
"""Task -> task whose net it has; only its labels are counted otherwise."""


def test_every_family_and_every_task_of_texts_is_in_the_table() -> None:
    assert {model_type for model_type, _ in ENCODERS.values()} == set(ARCHITECTURES)
    assert {head.task for head in HEADS.values()} == set(TASKS) - OF_IMAGES - set(NET_OF)
    for one, other in NET_OF.items():
        assert all(family.class_name(one) == family.class_name(other) for family in ARCHITECTURES.values())


def test_no_pair_is_missing_in_the_table() -> None:
    """But what early versions of transformers lack."""
    whole = {*itertools.product(ENCODERS, HEADS), *((form, "classification") for form in FORMS)}
    early = tuple(map(int, transformers.__version__.split(".")[:2])) < (4, 57)
    assert whole - set(CASES) <= ({("ModernBERT", "question answering")} if early else set())
