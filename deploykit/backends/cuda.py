"""Every call of pycuda: the primary context, one stream's worth of work, events, device and pinned memory.

The primary context is the one that PyTorch and ONNX Runtime use, so all three share a GPU in one process.
(`pycuda.autoinit` would make a second context and take the device away from them.)
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from deploykit.backends.device import LIBRARY
from deploykit.errors import DeviceOutOfMemory, ExecutionFailed


class PrimaryContext:
    """The first GPU's primary context, retained until `close`. Use it and close it on the thread that opened it."""

    def __init__(self) -> None:
        import pycuda.driver as driver

        self._driver = driver
        try:
            driver.init()
            self._context = driver.Device(0).retain_primary_context()
        except driver.Error as error:
            raise ExecutionFailed(f"CUDA cannot use the GPU: {error}") from error

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current; every method below wants that. Raises DeviceOutOfMemory, ExecutionFailed."""
        driver = self._driver
        self._context.push()
        try:
            yield
        except driver.MemoryError as error:
            raise DeviceOutOfMemory(
                f"out of memory on the GPU: {error}", hint="run a smaller batch, or free the GPU's memory"
            ) from error
        except driver.Error as error:
            raise ExecutionFailed(f"CUDA failed: {error}") from error
        finally:
            driver.Context.pop()

    def close(self) -> None:
        """Release the context. pycuda makes it current to do so and leaves it there; the last line puts that right."""
        self._context.detach()
        ctypes.CDLL(LIBRARY).cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))

    def stream(self) -> Any:
        """A pycuda Stream: `handle` is the number that TensorRT takes, `synchronize()` waits for it."""
        return self._driver.Stream()

    def event(self) -> Any:
        """A pycuda Event: `record(stream)`, and `start.time_till(end)` in milliseconds."""
        return self._driver.Event()

    def device_memory(self, size: int) -> Any:
        """`size` bytes on the device; `int()` of it is the address, `free()` gives it back."""
        return self._driver.mem_alloc(size)

    def pinned_memory(self, size: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        """`size` bytes of page-locked host memory, from which copies run without a detour."""
        pinned: np.ndarray[Any, np.dtype[np.uint8]] = self._driver.pagelocked_empty(size, np.uint8)
        return pinned

    def free_pinned(self, memory: "np.ndarray[Any, np.dtype[np.uint8]]") -> None:
        memory.base.free()  # type: ignore[union-attr] # pycuda's allocation, not an array

    def copy_in(self, device: Any, host: "np.ndarray[Any, Any]", stream: Any) -> None:
        self._driver.memcpy_htod_async(device, host, stream)

    def copy_out(self, host: "np.ndarray[Any, Any]", device: Any, stream: Any) -> None:
        self._driver.memcpy_dtoh_async(host, device, stream)
