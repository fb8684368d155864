"""Journal of measured losses: each is written at once, so that an interrupted search resumes where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

from gearshift.errors import StorageError
from gearshift.json_reader import parse_json
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.batches import EncodedRows


class KeptLosses:
    """File of losses: a header line that identifies the measurement, then one line per loss.

    A file with another header is started anew.
    """

    def __init__(self, path: Path, about: str) -> None:
        """Open the file; `about` identifies all that a loss depends on besides the subnet. Raises StorageError."""
        self.path = path
        self.known = _read(path, about)
        """Subnet -> loss, as the file was when it was opened."""
        self._write("w", json.dumps(about), *(_line(*item) for item in self.known.items()))

    def add(self, subnet: Subnet, loss: float) -> None:
        """Append a loss; raises StorageError."""
        self._write("a", _line(subnet, loss))

    def remove(self) -> None:
        """Delete the file, once the search is finished."""
        self.path.unlink(missing_ok=True)

    def _write(self, mode: str, *lines: str) -> None:
        try:
            with self.path.open(mode, encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
        except OSError as error:
            raise StorageError(f"{self.path}: could not be written ({error.strerror or error})") from error


def rows_hash(rows: EncodedRows) -> str:
    """Return a hash of all inputs and labels that a model gets from rows."""
    made_of = hashlib.sha256(repr((rows.task, rows.names, rows.pad_id, rows.pad_type_id)).encode())
    parts: tuple[Iterable[Any], ...] = (rows.ids, rows.type_ids, rows.labels, rows.places)
    for arrays in parts:
        for array in arrays:
            made_of.update(array.tobytes())
            made_of.update(b";")
    return made_of.hexdigest()


def _line(subnet: Subnet, loss: float) -> str:
    """Return the line of a loss, with its checksum at the end."""
    content = json.dumps({"subnet": subnet.layers, "loss": loss})
    return f"{content} {crc32(content.encode()):08x}"


def _read(path: Path, about: str) -> dict[Subnet, float]:
    """Read the losses of an interrupted search, up to the first line that was cut off or changed; {} for another
    header."""
    found: dict[Subnet, float] = {}
    if not path.is_file():
        return found
    try:
        header, *lines = path.read_text(encoding="utf-8").split("\n")
        if parse_json(header) != about:
            return {}
        for line in lines[:-1]:
            content, _, checksum = line.rpartition(" ")
            if checksum != f"{crc32(content.encode()):08x}":
                break  # that loss and the later ones are measured again
            one = parse_json(content)
            found[Subnet(tuple((int(heads), int(neurons)) for heads, neurons in one["subnet"]))] = float(one["loss"])
    except (OSError, ValueError, KeyError, TypeError):
        return found
    return found
