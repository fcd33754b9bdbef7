"""The fingerprint of a measurement: what has to be equal before two numbers may be compared.

Read from the kernel's files and from package metadata; no framework is imported. A fact that this system does not
offer is None. Nothing in it names a path or a user.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from deploykit.backends.device import LocalGpu, find_gpu
from deploykit.host import cpu_facts, cpu_flags, installed_version, usable_cores

LIBRARIES = (
    "deploykit", "numpy", "torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu", "tensorrt",
    "tensorrt-rtx", "pycuda",
)  # fmt: skip
INT8_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")  # what INT8 speed rests on
CPU0 = Path("/sys/devices/system/cpu/cpu0")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """Model, cores this process may use, INT8 instructions, governor, clock (MHz) and last-level cache (bytes)."""

    model: str
    cores: int
    flags: tuple[str, ...]
    governor: str | None
    clock_mhz: float | None
    cache_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Facts about the machine, the libraries and the run; `load_average` is that of the start, 1 minute."""

    cpu: Cpu
    memory_bytes: int | None
    os: str
    python: str
    libraries: Mapping[str, str]
    gpu: LocalGpu | None
    git_revision: str | None
    threads: int
    seed: int
    tf32: bool
    load_average: float | None

    def facts(self) -> dict[str, Any]:
        """The fields by name, for a class that has them and more."""
        return {each.name: getattr(self, each.name) for each in fields(Machine)}


def fingerprint(*, threads: int, seed: int, tf32: bool) -> Machine:
    """The machine that this process runs on."""
    return Machine(
        cpu=_cpu(),
        memory_bytes=_memory_bytes(),
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        libraries={name: found for name in LIBRARIES if (found := installed_version(name))},
        gpu=find_gpu(),
        git_revision=_git_revision(),
        threads=threads,
        seed=seed,
        tf32=tf32,
        load_average=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def _cpu() -> Cpu:
    facts, flags = cpu_facts(), cpu_flags()
    clock = facts.get("cpu MHz")
    return Cpu(
        model=facts.get("model name") or platform.processor() or platform.machine(),
        cores=usable_cores(),
        flags=tuple(flag for flag in INT8_FLAGS if flag in flags),
        governor=_read(CPU0 / "cpufreq/scaling_governor"),
        clock_mhz=float(clock) if clock else None,
        cache_bytes=_cache_bytes(),
    )


def _cache_bytes() -> int | None:
    """The largest cache of the first core, as the kernel lists them."""
    sizes = [_read(folder / "size") for folder in CPU0.glob("cache/index*")]
    return max((int(size[:-1]) * UNITS[size[-1]] for size in sizes if size and size[-1] in UNITS), default=None)


def _memory_bytes() -> int | None:
    for line in (_read(Path("/proc/meminfo")) or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _git_revision() -> str | None:
    """The commit of deploykit's own checkout, `-dirty` when files differ from it; None where it is installed."""
    root = Path(__file__).resolve().parents[2]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    return found.stdout.strip() or None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
