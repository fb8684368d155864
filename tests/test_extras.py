"""TODO"""

from __future__ import annotations

import sys

import pytest

from gearshift.errors import MissingExtraError
from gearshift.extras import require


def test_packages_that_are_there_are_no_error_and_are_not_imported() -> None:
    assert "this" not in sys.modules
    require("train", "numpy", "this")
    assert "this" not in sys.modules


def test_all_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtraError) as caught:
        require("train", "numpy", "no_such_package", "nor_this_one")
    assert str(caught.value) == (
        "this needs no_such_package, nor_this_one, which is not installed; run: pip install 'gearshift[train]'"
    )


def test_a_missing_extra_is_an_import_error_as_well() -> None:
    with pytest.raises(ImportError):
        require("train", "no_such_package")


class _Refusing:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "refused_package":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_package_that_an_import_hook_refuses_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [_Refusing, *sys.meta_path])
    with pytest.raises(MissingExtraError, match="this needs refused_package"):
        require("train", "refused_package")


def test_a_module_that_says_not_where_it_is_from_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "odd_package", type(sys)("odd_package"))
    with pytest.raises(MissingExtraError, match="this needs odd_package"):
        require("train", "odd_package")
