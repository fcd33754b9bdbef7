"""The micro-benchmark of this CPU. Its rates are checked against NumPy's own, roughly: this machine may be busy."""

import time

import numpy as np
import pytest

from deploykit.bench import peaks
from deploykit.bench.peaks import CpuPeaks, NumpyProduct, Stream, TorchProduct, measure_cpu_peaks


@pytest.fixture
def small(monkeypatch):
    """A measurement of well below a second, without PyTorch."""
    monkeypatch.setattr(peaks, "SIZES", (128, 256))
    monkeypatch.setattr(peaks, "SMALLEST_ARRAY", 2**22)
    monkeypatch.setattr(peaks, "BLOCK_SECONDS", 0.05)
    monkeypatch.setattr(peaks, "find_spec", lambda name: None)


def test_rates_are_those_of_this_machine(small):
    found = measure_cpu_peaks(threads=1, cache_bytes=None)
    matrix = np.ones((256, 256), np.float32)
    began = time.perf_counter()
    matrix @ matrix
    once = 2 * 256**3 / (time.perf_counter() - began) / 1e9
    assert once / 20 < found.fp32_gflops < 1e5
    assert 0.1 < found.bandwidth_gbs < 1e4
    assert (found.threads, found.fp16_gflops, found.int8_gops) == (1, None, None)


@pytest.mark.parametrize("kind", ["add", "copy", "dot"])
def test_a_stream_passes_over_whole_arrays_whatever_the_threads(kind):
    for threads in (1, 3):
        Stream(kind, 4 * 1001).prepare(threads=threads).launch()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_product_of_each_type_runs(dtype):
    TorchProduct(32, dtype).prepare(threads=1).launch()
    NumpyProduct(32).prepare(threads=1).launch()


def test_a_row_has_the_peak_of_its_type():
    plain = CpuPeaks(threads=2, fp32_gflops=100.0, fp16_gflops=None, int8_gops=None, bandwidth_gbs=20.0)
    assert [plain.peak(each) for each in ("fp32", "fp16", "int8")] == [100.0, 100.0, None]
    rich = CpuPeaks(threads=2, fp32_gflops=100.0, fp16_gflops=190.0, int8_gops=400.0, bandwidth_gbs=20.0)
    assert [rich.peak(each) for each in ("fp32", "fp16", "int8")] == [100.0, 190.0, 400.0]


def test_of_two_measurements_the_better_rates_count():
    one = CpuPeaks(threads=2, fp32_gflops=100.0, fp16_gflops=None, int8_gops=400.0, bandwidth_gbs=20.0)
    two = CpuPeaks(threads=2, fp32_gflops=90.0, fp16_gflops=None, int8_gops=410.0, bandwidth_gbs=25.0)
    assert one.best(two) == two.best(one)
    assert one.best(two) == CpuPeaks(
        threads=2, fp32_gflops=100.0, fp16_gflops=None, int8_gops=410.0, bandwidth_gbs=25.0
    )
