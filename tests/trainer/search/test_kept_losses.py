"""Journal of losses: read up to the first line that is not as it was written."""

from pathlib import Path

from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.search.kept_losses import KeptLosses

LOSSES = {Subnet(((heads, 8),)): heads / 7 for heads in (1, 2, 3)}


def kept(path: Path) -> KeptLosses:
    losses = KeptLosses(path, "about")
    for subnet, loss in LOSSES.items():
        losses.add(subnet, loss)
    return losses


def test_losses_come_back_to_the_last_digit(tmp_path: Path) -> None:
    kept(tmp_path / "losses")
    assert KeptLosses(tmp_path / "losses", "about").known == LOSSES
    assert KeptLosses(tmp_path / "losses", "another").known == {}


def test_no_changed_bit_gives_another_loss(tmp_path: Path) -> None:
    path = tmp_path / "losses"
    kept(path)
    content = path.read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            known = KeptLosses(path, "about").known
            assert known.items() <= LOSSES.items()
