"""Files of arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from gearshift.runtime.files.tensor_file import map_tensors, write_tensors

ARRAYS: dict[str, NDArray[Any]] = {
    "a": np.arange(3, dtype=np.int8),
    "b": np.eye(2, dtype=np.float32),
    "c": np.arange(5, dtype=np.uint64),
}


def test_the_safetensors_package_reads_what_was_written(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", ARRAYS, {"what": 1})
    found, (mapped, description) = load_file(tmp_path / "file"), map_tensors(tmp_path / "file")
    assert description == {"what": 1} and found.keys() == mapped.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(mapped[name], array)


def test_what_is_mapped_cannot_be_written(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", ARRAYS, {})
    assert not any(array.flags.writeable for array in map_tensors(tmp_path / "file")[0].values())
