"""Settings, lists and columns of the command line."""

from __future__ import annotations

import argparse
import dataclasses
import re

import pytest

from gearshift.__main__ import parse
from gearshift.runtime.policy.objective import Objective
from gearshift.settings import setting
from gearshift.terminal.options import add_settings, columns_of, given
from gearshift.trainer.dan.settings import DanSettings
from gearshift.trainer.dynabert.settings import Recovery, Settings
from gearshift.trainer.learning.settings import Pruning
from gearshift.trainer.nasbert.settings import NetSettings, SearchSettings, TuneSettings
from tests.command_line import Command


def test_columns_that_were_typed_have_the_names_of_the_reader() -> None:
    typed = argparse.Namespace(
        text_column="said", pair_column="", label_column="", label_names=None, strict_labels=False
    )
    assert columns_of(typed) == {"text_column": "said"}


def test_precisions_may_have_blanks_and_repeat() -> None:
    assert parse(["export", "a", "-o", "b", "--precision", "int8, fp32,int8"]).precision == ("int8", "fp32")
    assert parse(["export", "a", "-o", "b"]).precision is None  # all that the operators have on a CPU


def test_multipliers_are_numbers_with_commas() -> None:
    assert parse(["train", "--data", "a", "-o", "b", "--widths", "1,0.5,.25"]).widths == (1.0, 0.5, 0.25)


CALLS = [
    (Settings, "train --data a -o b"),
    (Recovery, "prune a -o b --sparsity 0.3"),
    (Pruning, "prune a -o b --sparsity 0.3"),
    (DanSettings, "train-dan --teacher a --data b -o c"),
    (SearchSettings, "nas-search --text a -o b"),
    (NetSettings, "nas-train a -o b"),
    (TuneSettings, "nas-tune a --data b -o c"),
    (Objective, "run a"),
]


@pytest.mark.parametrize(("settings", "call"), CALLS, ids=lambda one: getattr(one, "__name__", ""))
def test_every_setting_has_a_flag_whose_shown_default_is_the_default(
    command: Command, settings: type, call: str
) -> None:
    described = " ".join(command(call.split()[0], "--help").out.split()).partition("settings:")[2]
    for field in dataclasses.fields(settings):
        flag, value = f"--{field.name.replace('_', '-')}", field.default
        assert f" {flag} " in described or f" {flag}, " in described
        if value is dataclasses.MISSING:
            continue
        if value in ("", None, ()):  # nothing that could be typed
            assert given(parse(call.split()), settings).get(field.name) is None
            continue
        found = re.search(rf"{flag}[ ,].*?\(default: ([^;)]*)", described)
        assert found, field.name
        shown = found[1].replace(" ", "")
        if isinstance(value, bool):
            typed = [flag if shown == "yes" else flag.replace("--", "--no-", 1)]
        else:
            typed = [flag, shown]
        assert given(parse([*call.split(), *typed]), settings)[field.name] == value, field.name


@pytest.mark.parametrize(("settings", "call"), CALLS, ids=lambda one: getattr(one, "__name__", ""))
def test_settings_that_were_not_typed_are_left_to_their_defaults(settings: type, call: str) -> None:
    typed = given(parse(call.split()), settings)
    assert typed == ({"sparsity": 0.3} if settings is Pruning else {})
    settings(**typed)


@dataclasses.dataclass(frozen=True)
class Made:
    needed: int = setting(dataclasses.MISSING, "needed by all", unit="THINGS")
    kind: str = setting("a", "kind of it", choices=("a", "b"), paper="b")
    length: int | None = setting(None, "length of it", unset="as long as it is")
    inner: float = 0.5


def test_a_setting_has_its_unit_choices_default_and_paper_in_the_help_and_one_without_text_has_no_flag() -> None:
    parser = argparse.ArgumentParser()
    add_settings(parser, Made)
    described = " ".join(parser.format_help().split())
    assert "--needed THINGS needed by all --kind {a,b} kind of it (default: a; paper: b)" in described
    assert "--length N length of it (default: as long as it is)" in described
    assert "inner" not in described
    assert given(parser.parse_args(["--needed", "3", "--length", "2"]), Made) == {"needed": 3, "length": 2}
    with pytest.raises(SystemExit):
        parser.parse_args([])
