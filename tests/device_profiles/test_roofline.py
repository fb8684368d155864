"""Every board that ships: its constants have sources, and its estimates are floors and ranges."""

import dataclasses
import json
from importlib import resources
from typing import Any

import pytest

from gearshift.device_profiles import Operator
from gearshift.device_profiles.roofline import CONSTANTS, SCHEMA, SLACK, UNKNOWN, Board, Constant, boards
from gearshift.errors import ProfileError

BOARDS = boards()
KNOWN = Board(
    name="known",
    cpu="2 x a core",
    matches=("A core",),
    cores=Constant(2, "a"),
    clock_ghz=Constant(1.0, "b"),
    fp32_per_cycle=Constant(8, "c"),
    int8_per_cycle=Constant(32, "d"),
    memory_gb_s=Constant(4.0, "e"),
    operator_us=Constant(5.0, "f"),
)
HEAVY = Operator("MatMul", macs=4_000_000, weights=1000)
WIDE = Operator("MatMul", macs=1000, weights=1_000_000)


def test_the_boards_that_people_ask_for_ship() -> None:
    assert set(BOARDS) >= {
        *("raspberry-pi-zero-2-w", "raspberry-pi-3-b", "raspberry-pi-4-b", "raspberry-pi-5"),
        *("jetson-orin-nano", "rk3588", "snapdragon-qcs6490", "snapdragon-8-gen-2", "intel-n100", "amd-ryzen-7-9700x"),
    }


@pytest.mark.parametrize("name", BOARDS)
def test_every_constant_of_a_board_has_a_source_or_is_null(name: str) -> None:
    raw = json.loads((resources.files("gearshift.device_profiles") / "boards" / f"{name}.json").read_text())
    for constant in CONSTANTS:
        assert set(raw[constant]) == {"value", "source"}
        assert (raw[constant]["value"] is None) == (raw[constant]["source"] is None)
        assert raw[constant]["source"] is None or len(raw[constant]["source"]) > 20
        if raw[constant]["value"] is not None and "Zen" not in raw["cpu"]:
            low, high = UNKNOWN[constant]
            assert low <= raw[constant]["value"] <= high, f"{constant} lies outside of what a null may be"


@pytest.mark.parametrize("name", BOARDS)
def test_a_null_gives_a_range(name: str) -> None:
    low, high = BOARDS[name].roofline_ms([HEAVY, WIDE], "int8")
    assert 0 < low < high
    assert BOARDS[name].unknown


def test_an_operator_takes_its_call_and_the_longer_of_arithmetic_and_traffic() -> None:
    assert KNOWN.roofline_ms([HEAVY], "fp32") == pytest.approx((1.005, 1.005))  # 8 million of 8 thousand a microsecond
    assert KNOWN.roofline_ms([HEAVY], "int8") == pytest.approx((0.255, 0.255))
    assert KNOWN.roofline_ms([WIDE], "fp32") == pytest.approx((1.005, 1.005))  # 4 MB at 4 GB/s
    assert KNOWN.roofline_ms([WIDE], "int8") == pytest.approx((0.255, 0.255))
    assert KNOWN.roofline_ms([HEAVY, WIDE], "fp32") == pytest.approx((2.01, 2.01))


def test_more_threads_than_cores_do_not_help() -> None:
    two = KNOWN.roofline_ms([HEAVY], "fp32", threads=2)
    assert two == pytest.approx((0.505, 0.505))
    assert KNOWN.roofline_ms([HEAVY], "fp32", threads=8) == two


def test_what_several_cores_get_of_the_memory_is_a_range() -> None:
    assert KNOWN.roofline_ms([WIDE], "fp32", threads=2) == pytest.approx((0.505, 1.005))


def test_an_estimate_goes_from_the_floor_to_what_one_device_took_beyond_it() -> None:
    low, high = KNOWN.roofline_ms([HEAVY], "fp32")
    assert KNOWN.estimate_ms([HEAVY], "fp32") == (low, high * SLACK["fp32"])
    assert min(SLACK.values()) > 1


def test_a_null_constant_is_taken_at_its_best_and_at_its_worst() -> None:
    unknown = dataclasses.replace(KNOWN, fp32_per_cycle=Constant(None, None))
    low, high = unknown.roofline_ms([HEAVY], "fp32")
    assert (low, high) == pytest.approx((0.255, 1.005))
    assert unknown.unknown == ("fp32_per_cycle",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "expected schema version 1, found 2"),
        ({"clock_ghz": {"value": 1.0, "source": None}}, "expected a source with every value"),
        ({"clock_ghz": {"value": -1.0, "source": "x"}}, "expected a positive number or null, found -1.0"),
        ({"clock_ghz": {"value": 1.0}}, "a constant has a value and a source"),
        ({"speed": 1}, r"missing or unknown: \['speed'\]"),
    ],
    ids=str,
)
def test_a_board_that_is_wrong_is_refused(change: dict[str, Any], message: str) -> None:
    path = resources.files("gearshift.device_profiles") / "boards" / "raspberry-pi-5.json"
    with pytest.raises(ProfileError, match=message):
        SCHEMA.read_object({**json.loads(path.read_text()), **change}, Board.from_fields, path.name)
