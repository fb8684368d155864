"""What may be asked of the engine, and what may not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gearshift.runtime import InputError, Steering


@pytest.mark.parametrize("target", [0, 1, 1.5, 0.2, -1, math.nan, "0.95", None, True])
def test_a_target_that_is_no_share_is_refused(target: Any) -> None:
    with pytest.raises(InputError, match=r"target: expected a share of deadlines from 0\.5 to below 1"):
        Steering(target=target)


@pytest.mark.parametrize("name", ["min_accuracy", "max_cpu_share"])
@pytest.mark.parametrize("share", [0, -0.1, 1.01, math.nan, "half", True])
def test_a_share_that_is_none_is_refused(name: str, share: Any) -> None:
    with pytest.raises(InputError, match=f"{name}: expected a share above 0 and up to 1"):
        Steering(**{name: share})


def test_reject_is_yes_or_no() -> None:
    with pytest.raises(InputError, match="reject: expected True or False, got 'never'"):
        Steering(reject="never")  # type: ignore[arg-type]
