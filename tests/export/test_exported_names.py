"""`gearshift.export` gives its public names, each imported when it is first asked for."""

import inspect
import subprocess
import sys

import pytest

import gearshift.export

NAMES = ["embed_bundle", "export_bundle", "trim_bundle"]


def test_the_public_names_are_these() -> None:
    assert sorted(gearshift.export.__all__) == NAMES
    assert set(NAMES) <= set(dir(gearshift.export))


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_the_thing_its_module_defines(name: str) -> None:
    thing = getattr(gearshift.export, name)
    assert inspect.isfunction(thing)
    assert thing.__name__ == name
    assert thing.__module__.startswith("gearshift.export.")


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'gearshift\.export' has no attribute 'export'$"):
        gearshift.export.export  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_imports_no_torch() -> None:
    program = "import sys, gearshift.export; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
