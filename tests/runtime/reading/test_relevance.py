"""Bundles that cannot rank, and how vectors are compared."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gearshift.errors import InputError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import SIMILARITIES
from gearshift.runtime.reading.relevance import SIMILARITY, Relevance


def test_a_bundle_with_many_labels_cannot_rank(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="rank: expected two labels, one of them named as relevant"):
        Relevance(bundle.manifest)


@pytest.mark.parametrize("task", ["multi-label-classification", "token-classification"])
def test_a_bundle_of_another_task_cannot_rank(bundle: Bundle, task: str) -> None:
    with pytest.raises(InputError, match=f"expected a bundle for embedding, regression or .*, got {task}"):
        Relevance(dataclasses.replace(bundle.manifest, task=task))


@pytest.mark.parametrize("name", SIMILARITIES)
def test_every_similarity_is_highest_for_the_nearest_vector(name: str) -> None:
    one = np.array([3.0, 4.0])
    near, far = (SIMILARITY[name](one, np.array(other)) for other in ([3.0, 4.5], [-4.0, 0.0]))
    assert near > far
    values = {"cosine": 1.0, "dot": 25.0, "euclidean": 0.0, "manhattan": 0.0}
    assert SIMILARITY[name](one, one) == pytest.approx(values[name])


def test_a_vector_of_zeros_is_near_to_nothing() -> None:
    assert SIMILARITY["cosine"](np.zeros(2), np.ones(2)) == 0.0
