"""Every call of pycuda, on the primary context, which PyTorch and ONNX Runtime use too: all share a GPU in one process.

Importing `pycuda.autoinit` makes another one current in its stead, in which none of their memory is valid.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from deploykit.backends.device import LIBRARY
from deploykit.errors import DeviceOutOfMemory, ExecutionFailed
from deploykit.spec.arrays import Array


class PrimaryContext:
    """The first GPU's primary context and one stream, kept in here: pycuda destroys it with the last reference."""

    def __init__(self) -> None:
        import pycuda.driver as driver

        self._driver = driver
        try:
            driver.init()
            self._context = driver.Device(0).retain_primary_context()
        except driver.Error as error:
            raise ExecutionFailed(f"CUDA cannot use the GPU: {error}") from error
        with self.current():
            self._stream = driver.Stream()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current; every method below wants that. Raises DeviceOutOfMemory, ExecutionFailed."""
        self._context.push()
        try:
            yield
        except self._driver.MemoryError as error:
            raise DeviceOutOfMemory(f"the GPU is full: {error}", hint="run a smaller batch, or free the GPU") from error
        except self._driver.Error as error:
            raise ExecutionFailed(f"CUDA failed: {error}") from error
        finally:
            self._driver.Context.pop()

    def close(self) -> None:
        """Release the context. pycuda makes it current to do so and leaves it there; the last line puts that right."""
        with self.current():
            self._stream = None
        self._context.detach()
        ctypes.CDLL(LIBRARY).cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))

    def stream_handle(self) -> int:
        return int(self._stream.handle)

    def synchronize(self) -> None:
        self._stream.synchronize()

    def event(self) -> Any:
        return self._driver.Event()

    def record(self, event: Any) -> None:  # start.time_till(end) is in milliseconds
        event.record(self._stream)

    def device_memory(self, size: int) -> Any:
        """`size` bytes on the device; `int()` of it is the address, `free()` gives it back."""
        return self._driver.mem_alloc(size)

    def pinned_memory(self, size: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        """`size` bytes of page-locked host memory, from which copies run without a detour."""
        return self._driver.pagelocked_empty(size, np.uint8)  # type: ignore[no-any-return]

    def free_pinned(self, memory: "np.ndarray[Any, np.dtype[np.uint8]]") -> None:
        memory.base.free()  # type: ignore[union-attr] # pycuda's allocation, not an array

    def copy_in(self, device: Any, host: Array) -> None:
        self._driver.memcpy_htod_async(device, host, self._stream)

    def copy_out(self, host: Array, device: Any) -> None:
        self._driver.memcpy_dtoh_async(host, device, self._stream)
