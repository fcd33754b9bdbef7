"""These tests need real pycuda on the host-memory driver; `make test-cuda-shim` builds both and loads them."""

import ctypes
import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "backends_trt"))


def missing() -> str:
    if importlib.util.find_spec("pycuda") is None:
        return "pycuda is not here: make test-cuda-shim"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no host-memory CUDA driver: make test-cuda-shim"
    return "" if hasattr(driver, "shim_live_blocks") else "a real CUDA driver is loaded: make test-cuda-shim"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cuda_shim)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


class Driver:
    """What is alive in the host-memory driver."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self._library.shim_device_bytes.restype = ctypes.c_size_t
        self._library.shim_allocations_made.restype = ctypes.c_size_t

    def __getattr__(self, name: str) -> int:
        return getattr(self._library, f"shim_{name}")()

    def alive(self) -> dict[str, int]:
        names = ("live_blocks", "device_bytes", "live_streams", "live_events", "contexts_retained", "contexts_current")
        return {name: getattr(self, name) for name in names}


@pytest.fixture
def driver():
    """The driver; afterwards nothing may be alive in it."""
    driver = Driver()
    assert not any(driver.alive().values())
    yield driver
    assert not any(driver.alive().values()), driver.alive()
