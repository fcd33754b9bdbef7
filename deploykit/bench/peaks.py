"""What this CPU reaches: products per second and bytes per second, by a micro-benchmark of about a second.

The rates are roofs for rooflines (`results.roofline`), so each is the best of many short runs of the best of what is
here, and never an average: matrix products of NumPy's BLAS and of PyTorch, in worker processes like those of the rows
and on as many threads; and, after STREAM (McCalpin, 1995), sums, copies and scalar products of arrays that no cache
holds. INT8 is measured where the CPU has instructions for it, since without them it has no rate of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from deploykit.bench.process import WorkerProcess
from deploykit.bench.worker import Prepare, TimeBlock, Workload
from deploykit.errors import DeploykitError
from deploykit.host import cpu_flags

SIZES = (512, 1024, 2048, 4096, 8192)  # of square matrices; larger ones where many cores make short work of them
LONG_ENOUGH = 0.01  # seconds of a product: threads are busy with it, not with waking up
BLOCK_SECONDS, LEAST_RUNS = 0.2, 5  # many short runs: the best of them is one that nothing disturbed
ANSWER_SECONDS = 120.0
SMALLEST_ARRAY, LARGEST_ARRAY = 64 * 2**20, 512 * 2**20  # bytes of each of three
INT8_UNITS = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"}
FP16_UNITS = {"avx512_fp16", "amx_fp16", "asimdhp"}

Type = Literal["float32", "float16", "int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuPeaks:
    """Rates on `threads` threads: GFLOP/s and GOP/s of products, a multiply-accumulate counted as two, and GB/s.

    None where the CPU has no instructions for the type, or nothing installed here uses them.
    """

    threads: int
    fp32_gflops: float
    fp16_gflops: float | None
    int8_gops: float | None
    bandwidth_gbs: float

    def best(self, other: CpuPeaks) -> CpuPeaks:
        """The better of each rate."""
        return CpuPeaks(
            threads=self.threads,
            fp32_gflops=max(self.fp32_gflops, other.fp32_gflops),
            fp16_gflops=_greater(self.fp16_gflops, other.fp16_gflops),
            int8_gops=_greater(self.int8_gops, other.int8_gops),
            bandwidth_gbs=max(self.bandwidth_gbs, other.bandwidth_gbs),
        )

    def peak(self, precision: str) -> float | None:
        """G(FL)OP/s of the products of a row; float16 without instructions of its own is computed in float32."""
        if precision == "fp16":
            return max(self.fp32_gflops, self.fp16_gflops or 0.0)
        return self.int8_gops if precision == "int8" else self.fp32_gflops


def _greater(one: float | None, other: float | None) -> float | None:
    return max((rate for rate in (one, other) if rate is not None), default=None)


def measure_cpu_peaks(*, threads: int, cache_bytes: int | None) -> CpuPeaks:
    """Raises ExecutionFailed where not even NumPy can be run."""
    flags = cpu_flags()
    with WorkerProcess(threads=threads, answer_seconds=ANSWER_SECONDS) as worker:
        fp32 = _product_rate(worker, threads, lambda size: NumpyProduct(size))
        size = min(LARGEST_ARRAY, max(SMALLEST_ARRAY, 2 * (cache_bytes or 0)))
        bandwidth = max(
            traffic * size / _best_seconds(worker, threads, Stream(kind, size)) for kind, traffic in TRAFFIC.items()
        )
    fp16 = int8 = None
    if find_spec("torch") is not None:
        with WorkerProcess(threads=threads, answer_seconds=ANSWER_SECONDS) as worker:
            fp32 = max(fp32, _product_rate(worker, threads, lambda size: TorchProduct(size, "float32")))
            if flags & FP16_UNITS:
                fp16 = _rate_or_none(worker, threads, "float16")
            if flags & INT8_UNITS:
                int8 = _rate_or_none(worker, threads, "int8")
    return CpuPeaks(
        threads=threads,
        fp32_gflops=fp32 / 1e9,
        fp16_gflops=fp16 / 1e9 if fp16 else None,
        int8_gops=int8 / 1e9 if int8 and int8 > fp32 else None,
        bandwidth_gbs=bandwidth / 1e9,
    )


def _rate_or_none(worker: WorkerProcess, threads: int, dtype: Type) -> float | None:
    """None where this PyTorch has no product of that type on this CPU."""
    try:
        return _product_rate(worker, threads, lambda size: TorchProduct(size, dtype))
    except DeploykitError:
        return None


def _product_rate(worker: WorkerProcess, threads: int, product: Callable[[int], Workload]) -> float:
    """Operations per second of the best size; no size is tried after one that takes long enough."""
    best = 0.0
    for size in SIZES:
        seconds = _best_seconds(worker, threads, product(size))
        best = max(best, 2 * size**3 / seconds)
        if seconds >= LONG_ENOUGH:
            break
    return best


def _best_seconds(worker: WorkerProcess, threads: int, workload: Workload) -> float:
    worker.ask(Prepare(workload, threads))
    first = min(worker.ask(TimeBlock(2)).samples_ns)
    runs = max(LEAST_RUNS, round(BLOCK_SECONDS * 1e9 / first))
    return min(first, *worker.ask(TimeBlock(runs)).samples_ns) / 1e9


class Work:
    """A call as something to time: done when it returns."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def launch(self) -> None:
        self._call()

    def synchronize(self) -> None: ...

    def device_ms(self) -> float | None:
        return None


@dataclass(frozen=True, slots=True)
class NumpyProduct:
    """A square matrix product in float32; NumPy's BLAS takes its threads from the worker's environment."""

    size: int

    def prepare(self, *, threads: int) -> Work:  # noqa: ARG002 - the protocol's
        import numpy as np

        random = np.random.default_rng(0)
        left, right = (random.random((self.size, self.size), dtype=np.float32) for _ in range(2))
        into = np.empty_like(left)
        return Work(lambda: np.matmul(left, right, out=into))


@dataclass(frozen=True, slots=True)
class TorchProduct:
    """A square matrix product of one type."""

    size: int
    dtype: Type

    def prepare(self, *, threads: int) -> Work:
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        shape = (self.size, self.size)
        if self.dtype == "int8":
            whole = [torch.randint(-127, 128, shape, dtype=torch.int8) for _ in range(2)]
            return Work(lambda: torch._int_mm(*whole))  # the only one of int8
        left, right = (torch.rand(shape).to(getattr(torch, self.dtype)) for _ in range(2))
        into = torch.empty_like(left)
        return Work(lambda: torch.mm(left, right, out=into))


StreamKind = Literal["add", "copy", "dot"]
TRAFFIC: dict[StreamKind, int] = {"add": 3, "copy": 2, "dot": 2}  # arrays that cross the bus, as STREAM counts them


@dataclass(frozen=True, slots=True)
class Stream:
    """One pass over arrays of `nbytes` each, cut among the threads."""

    kind: StreamKind
    nbytes: int

    def prepare(self, *, threads: int) -> Work:
        import numpy as np

        count = self.nbytes // 4
        first, second, third = (np.full(count, value, np.float32) for value in (1.0, 2.0, 0.0))
        step = math.ceil(count / threads)
        parts = [slice(start, start + step) for start in range(0, count, step)]
        pass_over: dict[StreamKind, Callable[[slice], object]] = {
            "add": lambda part: np.add(first[part], second[part], out=third[part]),
            "copy": lambda part: np.copyto(third[part], second[part]),
            "dot": lambda part: np.vdot(first[part], second[part]),
        }
        pool = ThreadPoolExecutor(threads)
        return Work(lambda: list(pool.map(pass_over[self.kind], parts)))
