"""A setting is said once, and others may mean the same."""

from __future__ import annotations

import dataclasses

from gearshift.settings import same_as, setting, settings_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
    rows: int = setting(32, "rows of a step", unit="ROWS", paper="64")
    seed: int = setting(0, "seed of all random numbers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(Shared):
    widths: tuple[float, ...] = setting((1.0, 0.5), "widths")
    rows: int = same_as(Shared, "rows", 8, "texts of a step")


def test_own_settings_come_before_inherited_ones_and_each_once() -> None:
    assert [field.name for field in settings_of(Own)] == ["widths", "rows", "seed"]
    assert [field.name for field in settings_of(Shared)] == ["rows", "seed"]


def test_a_setting_that_means_the_same_keeps_what_is_not_said_again() -> None:
    assert (Shared().rows, Own().rows, Own(rows=3).rows) == (32, 8, 3)
    (mine,) = [field for field in settings_of(Own) if field.name == "rows"]
    assert (mine.metadata["help"], mine.metadata["unit"], mine.metadata["paper"]) == ("texts of a step", "ROWS", "64")
    (its,) = [field for field in settings_of(Shared) if field.name == "rows"]
    assert its.metadata["help"] == "rows of a step"
