"""Machines to test on, as their /proc and /sys show them."""

from collections.abc import Mapping
from pathlib import Path

GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
DRIVER = "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver"

X86_CPU = """\
processor\t: {0}
vendor_id\t: GenuineIntel
model name\t: Intel(R) Core(TM) i7-1165G7 @ 2.80GHz
flags\t\t: fpu sse4_1 sse4_2 avx f16c fma lm avx2 avx512f avx512_vnni
bugs\t\t: spectre_v1

"""

ARM_CPU = """\
processor\t: {0}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""

LAPTOP = {
    "proc/cpuinfo": "".join(X86_CPU.format(cpu) for cpu in range(8)),
    "proc/meminfo": "MemTotal:       16000000 kB\nMemFree:         9000000 kB\n",
    "proc/pressure/cpu": "some avg10=2.50 avg60=1.00 avg300=0.50 total=1\nfull avg10=0.00 avg60=0.00\n",
    "proc/self/cgroup": "0::/user.slice/session.scope\n",
    "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
    "sys/fs/cgroup/user.slice/memory.max": "max\n",
    GOVERNOR: "schedutil\n",
}

RASPBERRY_PI = {
    "proc/cpuinfo": "".join(ARM_CPU.format(cpu) for cpu in range(4))
    + "Revision\t: c03114\nSerial\t\t: 100000001\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
    "proc/meminfo": "MemTotal:        3884000 kB\n",
    GOVERNOR: "powersave\n",
    DRIVER: "cpufreq-dt\n",
}

CONTAINER = {
    "proc/cpuinfo": LAPTOP["proc/cpuinfo"],
    "proc/meminfo": LAPTOP["proc/meminfo"],
    "proc/pressure/cpu": LAPTOP["proc/pressure/cpu"],
    "proc/self/cgroup": "0::/\n",
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/memory.max": "512000000\n",
    "sys/fs/cgroup/memory.current": "400000000\n",
    "sys/fs/cgroup/memory.stat": "anon 100000000\ninactive_file 50000000\n",
}
"""cgroup v2 with a namespace of its own: a quota of one and a half CPUs and 512 MB."""

OLD_CONTAINER = {
    "proc/cpuinfo": LAPTOP["proc/cpuinfo"],
    "proc/self/cgroup": "4:memory:/docker/0a1b\n3:cpu,cpuacct:/docker/0a1b\n1:name=systemd:/\n0::/\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "256000000\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "100000000\n",
    "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 20000000\n",
}
"""cgroup v1, where the process sees the host's path and the mounts begin at its own group."""


def write_tree(root: Path, files: Mapping[str, str]) -> Path:
    """Write the files below `root`, and give it back."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root
