"""Packages of extras: read from the installed metadata, and named with the command that installs them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gearshift.errors import MissingExtraError
from gearshift.extras import require, requirements
from gearshift.versions import minimum

EXTRAS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["optional-dependencies"]

METADATA = """Metadata-Version: 2.4
Name: gearshift
Version: 9
Provides-Extra: toys
Provides-Extra: more
Provides-Extra: learn
Provides-Extra: there
Requires-Dist: numpy>=1.26
Requires-Dist: no-such_package>=1; extra == "toys"
Requires-Dist: nor.this-one<3,>=2.5 ; python_version >= "3.11" and extra == 'toys'
Requires-Dist: json; extra == "toys"
Requires-Dist: gearshift[toys]; extra == "more"
Requires-Dist: json!=4; extra == "more"
Requires-Dist: scikit-learn>=1.4; extra == "learn"
Requires-Dist: this; extra == "there"
"""


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed gearshift whose extras need odd packages."""
    (tmp_path / "gearshift-9.dist-info").mkdir()
    (tmp_path / "gearshift-9.dist-info" / "METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("extra", ["train", "export", "plot", "tensorboard", "hub", "serve"])
def test_packages_that_are_there_are_no_error(extra: str) -> None:
    assert requirements(extra)
    require(extra)


@pytest.mark.usefixtures("played")
def test_a_package_that_is_there_is_not_imported() -> None:
    assert "this" not in sys.modules
    assert requirements("there") == {"this": ""}
    require("there")
    assert "this" not in sys.modules


@pytest.mark.parametrize("extra", ["train", "plot"])
def test_the_packages_of_an_extra_are_those_of_pyproject(extra: str) -> None:
    asked = {line.split(">=")[0]: line.split(">=")[1].split(",")[0] for line in EXTRAS[extra]}
    found = {name: minimum(versions) for name, versions in requirements(extra).items()}
    assert {name: found[name] for name in asked} == asked


@pytest.mark.usefixtures("played")
def test_an_extra_has_the_packages_of_those_it_includes() -> None:
    assert requirements() == {"numpy": ">=1.26"}
    toys = {"no-such_package": ">=1", "nor.this-one": "<3,>=2.5", "json": ""}
    assert requirements("toys") == toys
    assert requirements("more") == {**toys, "json": "!=4"}


@pytest.mark.usefixtures("played")
def test_all_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    for extra in ("toys", "more"):
        with pytest.raises(MissingExtraError) as caught:
            require(extra)
        assert str(caught.value) == (
            f"this needs no-such_package, nor.this-one, which is not installed; run: pip install 'gearshift[{extra}]'"
        )


@pytest.mark.usefixtures("played")
def test_a_missing_extra_is_an_import_error_as_well() -> None:
    with pytest.raises(ImportError):
        require("toys")


class _Refusing:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "sklearn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.usefixtures("played")
def test_a_package_that_an_import_hook_refuses_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [_Refusing, *sys.meta_path])
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    with pytest.raises(MissingExtraError, match="this needs scikit-learn, which"):
        require("learn")


@pytest.mark.usefixtures("played")
def test_a_module_that_says_not_where_it_is_from_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", type(sys)("sklearn"))
    with pytest.raises(MissingExtraError, match="this needs scikit-learn, which"):
        require("learn")


def test_a_checkout_that_is_not_installed_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    asked = {line.split(">=")[0]: line.split(">=")[1].split(",")[0] for line in EXTRAS["train"]}
    assert {name: minimum(versions) for name, versions in requirements("train").items()} == asked
    monkeypatch.setattr("gearshift.extras._installed", lambda package: package != "torch")
    with pytest.raises(MissingExtraError, match=r"this needs torch, .* pip install 'gearshift\[train\]'"):
        require("train")


def test_copied_files_that_nothing_installed_ask_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr("gearshift.extras._source_requirements", list)
    assert requirements() == requirements("train") == {}
    require("train")


@pytest.mark.parametrize(
    "statement",
    [
        "from gearshift.export import export_bundle",
        "from gearshift.trainer import train_supernet",
        "from gearshift.trainer.data.splits import read_data",
        "from gearshift.trainer.model.elastic import ElasticClassifier",
    ],
)
def test_python_without_torch_is_told_the_extra_in_one_line(statement: str) -> None:
    code = f"import sys\nsys.modules['torch'] = None\ntry:\n  {statement}\nexcept ImportError as error:\n  print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "this needs torch, which is not installed; run: pip install 'gearshift[train]'\n"
