"""Two boards as an emulator plays them: a CPU of that kind, and what its kernel says about it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.arm64.prepare import BUILD, PYTHON

REPOSITORY = Path(__file__).parents[2]

CPUINFO = """\
processor\t: {number}
BogoMIPS\t: 108.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: {variant}
CPU part\t: {part}
CPU revision\t: {revision}

"""


@dataclass(frozen=True)
class Board:
    """A board of four equal cores; all but `cpu` is what its /proc/cpuinfo says."""

    cpu: str
    """Name that the emulator calls it by: decides which instructions can be executed."""
    model: str
    features: str
    """onnxruntime chooses its kernels by these."""
    variant: str
    part: str
    revision: str

    @property
    def dot_product(self) -> bool:
        """Whether it says that it multiplies and adds int8 in one instruction."""
        return "asimddp" in self.features.split()

    def cpuinfo(self) -> str:
        """/proc/cpuinfo. The emulator would show that of the machine it runs on."""
        return "".join(CPUINFO.format(number=number, **vars(self)) for number in range(4))


BOARDS = (
    Board("cortex-a72", "Cortex-A72", "fp asimd evtstrm crc32 cpuid", "0x0", "0xd08", "3"),  # Raspberry Pi 4
    Board(
        "cortex-a76",  # Raspberry Pi 5
        "Cortex-A76",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
        "0x4",
        "0xd0b",
        "1",
    ),
)


def run_python(board: Board, scratch: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Python on that board, with gearshift and its four dependencies; `scratch` is a folder of its own.

    Without site (-S), so that no other package can be found.
    """
    root = scratch / "root"
    if not root.exists():
        (root / "proc").mkdir(parents=True)
        (root / "proc" / "cpuinfo").write_text(board.cpuinfo())
        for folder in (BUILD / "root").iterdir():
            (root / folder.name).symlink_to(folder)
    environment = {
        "HOME": str(scratch),
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{REPOSITORY / 'src'}:{BUILD / 'site'}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    emulator = (BUILD / "qemu", "-cpu", board.cpu, "-L", root)
    command = [*emulator, BUILD / "root" / "usr" / "bin" / f"python{PYTHON}", "-S", *arguments]
    return subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
