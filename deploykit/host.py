"""What this machine offers, read from package metadata and the kernel: no framework is imported."""

import os
import platform
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
STATUS = Path("/proc/self/status")


def installed_version(*names: str) -> str | None:
    """The version of the first of these distributions that is installed, None where none is."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """The installed version of each distribution, "absent" where there is none."""
    return {name: installed_version(name) or "absent" for name in names}


def search_path() -> str:
    """Where this process finds its modules, for PYTHONPATH: another then finds factories and plug-ins too."""
    return os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)


def usable_cores() -> int:
    """The cores this process may use, which in a container is fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory_bytes() -> int | None:
    """The most memory that this process had resident at once; None where the system does not say.

    Linux's `ru_maxrss` survives exec, so a process would answer with what its parent had; VmHWM does not.
    """
    with suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cpu_facts() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo by name; empty where the system has no such file."""
    try:
        text = CPUINFO.read_text()
    except OSError:
        return {}
    facts: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    return facts


def saturates_u8s8() -> bool:
    """Whether integer kernels here sum pairs of uint8 x int8 products in int16: x86 without VNNI (or none known)."""
    return platform.machine() in ("x86_64", "AMD64") and not cpu_flags() & {"avx512_vnni", "avx_vnni"}


def cpu_flags() -> frozenset[str]:
    """Instruction-set extensions, in the kernel's words (`avx512_vnni`)."""
    facts = cpu_facts()
    return frozenset((facts.get("flags") or facts.get("Features") or "").split())
