"""Values of a manifest out of a known set: another one is refused, with the known ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearshift.errors import SchemaError
from gearshift.runtime.bundle.bundle import open_bundle
from tests.runtime.altered import edit_manifest, set_field

UNKNOWN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "task": (set_field("task", to="clqssification"), r"a task out of classification, .*, found 'clqssification'"),
    "metric": (
        set_field("metric", to="accuracx"),
        r"a metric out of accuracy, micro_f1, .*cosine, pixel_similarity, found 'accuracx'",
    ),
    "executor": (
        set_field("pool", 3, "executor", to="elastik"),
        r"an executor of \S+ out of elastic, dan, found 'elastik'",
    ),
    "precision": (
        set_field("pool", 0, "precision", to="fp4"),
        r"a precision of \S+ out of fp32, int8, fp16, found 'fp4'",
    ),
    "session option": (
        set_field("session_options", "session.use_env_allocators", to="1"),
        r"session options out of graph_optimization_level, session\.\S+, found 'session.use_env_allocators'",
    ),
    "level": (
        set_field("session_options", "graph_optimization_level", to="disablE"),
        "graph_optimization_level out of disable, basic, extended, all, found 'disablE'",
    ),
    "spinning": (
        set_field("session_options", "session.intra_op.allow_spinning", to="2"),
        r"session\.intra_op\.allow_spinning out of 0, 1, found '2'",
    ),
}


@pytest.mark.parametrize("field", UNKNOWN)
def test_a_value_that_is_not_known_is_refused_with_the_known_ones(bundle_copy: Path, field: str) -> None:
    edit, message = UNKNOWN[field]
    edit_manifest(bundle_copy, edit)
    with pytest.raises(SchemaError, match=f"expected {message}; install a newer gearshift$") as caught:
        open_bundle(bundle_copy)
    assert "\n" not in str(caught.value)
