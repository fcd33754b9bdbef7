import subprocess
import sys

import pytest

from deploykit.backends import device

PROBE = """
import sys
from deploykit.backends.device import find_gpu, why_no_gpu
gpu = find_gpu()
print(why_no_gpu() if gpu is None else gpu)
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "onnx", "onnxruntime", "tensorrt_rtx", "pycuda"}))
"""


@pytest.fixture
def fresh_probe():
    device._probe.cache_clear()
    yield
    device._probe.cache_clear()


def test_asking_for_a_gpu_imports_no_framework():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    answer, imported = done.stdout.splitlines()
    assert imported == "[]"
    assert answer.startswith(("LocalGpu(", "no "))


def test_without_a_driver_the_reason_names_the_library_and_the_fix(monkeypatch, fresh_probe):
    monkeypatch.setattr(device, "LIBRARY", "libcuda_of_nobody.so.1")
    assert device.find_gpu() is None
    assert str(device.why_no_gpu()).startswith("no NVIDIA GPU: the driver library libcuda_of_nobody.so.1 is not here; ")


class BrokenDriver:
    def __init__(self, status=0, count=0):
        self.status, self.count = status, count

    def cuInit(self, flags):  # noqa: N802
        return self.status

    def cuGetErrorName(self, status, text):  # noqa: N802
        text._obj.value = b"CUDA_ERROR_NO_DEVICE"
        return 0

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = self.count
        return 0


def test_a_driver_that_does_not_start_is_quoted(monkeypatch, fresh_probe):
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: BrokenDriver(status=100))
    assert device.find_gpu() is None
    assert "cuInit answered CUDA_ERROR_NO_DEVICE" in device.why_no_gpu().what


def test_a_driver_without_devices(monkeypatch, fresh_probe):
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: BrokenDriver(count=0))
    assert device.find_gpu() is None
    assert "the driver reports none" in device.why_no_gpu().what
