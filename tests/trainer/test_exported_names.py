"""`gearshift.trainer` gives its public names, each imported when it is first asked for."""

import inspect
import subprocess
import sys

import pytest

import gearshift.trainer

NAMES = ["Settings", "Supernet", "SupernetTrainer", "find_model", "read_data", "train_supernet"]


def test_the_public_names_are_these() -> None:
    assert sorted(gearshift.trainer.__all__) == NAMES
    assert set(NAMES) <= set(dir(gearshift.trainer))


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_the_thing_its_module_defines(name: str) -> None:
    thing = getattr(gearshift.trainer, name)
    assert inspect.isclass(thing) or inspect.isfunction(thing)
    assert thing.__name__ == name
    assert thing.__module__.startswith("gearshift.trainer.")


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'gearshift\.trainer' has no attribute 'train'$"):
        gearshift.trainer.train  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_imports_no_torch() -> None:
    program = "import sys, gearshift.trainer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
