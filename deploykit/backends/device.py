"""Is there an NVIDIA GPU here? Asked of the driver library itself through ctypes, so that no package is needed.

The answer is kept for the life of the process. Asking initializes the driver, and an initialized driver does not
survive a fork: processes started afterwards must be spawned.
"""

import ctypes
import sys
from dataclasses import dataclass
from functools import cache

from deploykit.spec import Reason, Target

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
INSTALL_DRIVER = "install NVIDIA's driver, or run on a machine with an NVIDIA GPU"

# CUdevice_attribute, cuda.h
COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR, L2_CACHE_SIZE = 75, 76, 38


@dataclass(frozen=True, slots=True)
class LocalGpu:
    """The first GPU: `memory` in bytes, `driver` the CUDA version its driver speaks ("13.0"), `count` GPUs in all.

    `cache` is its L2 cache in bytes, 0 where the driver does not say.
    """

    name: str
    capability: Target
    memory: int
    driver: str
    count: int
    cache: int = 0


def find_gpu() -> LocalGpu | None:
    found = _probe()
    return found if isinstance(found, LocalGpu) else None


def why_no_gpu() -> Reason:
    """What is missing; asked only where `find_gpu()` found none."""
    found = _probe()
    return found if isinstance(found, Reason) else Reason(f"there is a GPU here: {found.name}")


@cache
def _probe() -> LocalGpu | Reason:
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError:
        return Reason(f"no NVIDIA GPU: the driver library {LIBRARY} is not here", INSTALL_DRIVER)
    if status := cuda.cuInit(0):
        return Reason(f"no usable NVIDIA GPU: cuInit answered {_error_name(cuda, status)}", INSTALL_DRIVER)
    count = _integer(cuda, "cuDeviceGetCount")
    if not count:
        return Reason("no NVIDIA GPU: the driver reports none", "check CUDA_VISIBLE_DEVICES and nvidia-smi")
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    cuda.cuDeviceGetName(name, len(name), 0)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), 0)
    driver = _integer(cuda, "cuDriverGetVersion")
    return LocalGpu(
        name=name.value.decode(errors="replace"),
        capability=Target(
            _integer(cuda, "cuDeviceGetAttribute", COMPUTE_CAPABILITY_MAJOR, 0),
            _integer(cuda, "cuDeviceGetAttribute", COMPUTE_CAPABILITY_MINOR, 0),
        ),
        memory=memory.value,
        driver=f"{driver // 1000}.{driver % 1000 // 10}",
        count=count,
        cache=_integer(cuda, "cuDeviceGetAttribute", L2_CACHE_SIZE, 0),
    )


def _integer(cuda: ctypes.CDLL, function: str, *arguments: int) -> int:
    """The int that a driver query writes to its first argument; 0 where it fails."""
    value = ctypes.c_int()
    status = getattr(cuda, function)(ctypes.byref(value), *arguments)
    return 0 if status else value.value


def _error_name(cuda: ctypes.CDLL, status: int) -> str:
    text = ctypes.c_char_p()
    known = cuda.cuGetErrorName(status, ctypes.byref(text)) == 0 and text.value
    return text.value.decode() if known and text.value else f"error {status}"
