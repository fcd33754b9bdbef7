"""What a process holds on the GPUs, asked of NVML, NVIDIA's management library, which comes with the driver.

The driver's own calls tell what a whole GPU has left, which other processes share; NVML tells it by process. In a
container that has process numbers of its own NVML names those of the host: the process is then not found, and the
answer is None.
"""

import ctypes
import sys

LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
SUCCESS, INSUFFICIENT_SIZE = 0, 7  # nvmlReturn_t
NOT_AVAILABLE = 2**64 - 1  # of a process whose memory the driver does not tell
SPARE = 16  # processes that may have begun between two calls


class _Process(ctypes.Structure):
    """nvmlProcessInfo_v2_t, which version 3 of the call fills."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("memory", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


def process_device_memory(pid: int) -> int | None:
    """Bytes that process `pid` holds on all GPUs; None without NVML, or where it does not tell of that process."""
    try:
        nvml = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    if nvml.nvmlInit_v2() != SUCCESS:
        return None
    try:
        return _held_by(nvml, pid)
    except AttributeError:  # an older driver, without the call
        return None
    finally:
        nvml.nvmlShutdown()


def _held_by(nvml: ctypes.CDLL, pid: int) -> int | None:
    count = ctypes.c_uint()
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != SUCCESS:
        return None
    held = []
    for index in range(count.value):
        device = ctypes.c_void_p()
        if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) == SUCCESS:
            held += [each.memory for each in _processes(nvml, device) if each.pid == pid]
    told = [size for size in held if size != NOT_AVAILABLE]
    return sum(told) if told else None


def _processes(nvml: ctypes.CDLL, device: ctypes.c_void_p) -> list[_Process]:
    """The processes that compute on a GPU; none where it does not say."""
    call = nvml.nvmlDeviceGetComputeRunningProcesses_v3
    count = ctypes.c_uint(0)
    if call(device, ctypes.byref(count), None) not in (SUCCESS, INSUFFICIENT_SIZE):
        return []
    count.value += SPARE
    found = (_Process * count.value)()
    return list(found[: count.value]) if call(device, ctypes.byref(count), found) == SUCCESS else []
