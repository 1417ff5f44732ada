"""The machine that a figure was measured on; without it, a figure says nothing."""

import os
import platform
from pathlib import Path


def describe() -> dict[str, str]:
    """The machine and the versions that matter, as the reports state them."""
    return {
        "cpu": f"{os.cpu_count()} x {_first('/proc/cpuinfo', 'model name')}",
        "memory": f"{int(_first('/proc/meminfo', 'MemTotal').split()[0]) // 1024**2} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def kernel_kib() -> int:
    """KiB that the kernel of Linux uses for its objects, sockets among them, and for the bytes in the buffers of TCP
    sockets. On a machine that is quiet, a difference is that of the sockets."""
    slab = int(_first("/proc/meminfo", "Slab").split()[0])
    buffers = int(_first("/proc/net/sockstat", "TCP").split()[-1])  # in pages
    return slab + buffers * os.sysconf("SC_PAGE_SIZE") // 1024


def _first(path: str, name: str) -> str:
    """The first value with this name in a file of `name: value` lines; `unknown` if there is none."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return "0 unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "0 unknown")
