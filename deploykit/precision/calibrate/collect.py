"""Run the float graph on calibration images and count every activation."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from deploykit.errors import ExecutionFailed, UnknownName, UnsupportedGraph, UsageError, one_line
from deploykit.host import usable_cores
from deploykit.ort_session import open_session
from deploykit.precision.calibrate.histogram import Histogram
from deploykit.precision.calibrate.methods import METHODS, PERCENTILE
from deploykit.precision.calibrate.observations import CalibrationRun, Observations
from deploykit.precision.calibrate.table import CalibrationTable
from deploykit.precision.int8.preconditions import require_plain
from deploykit.precision.int8.sites import calibrated_values
from deploykit.spec import Feed
from deploykit.spec.arrays import Array

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CHECKPOINT_SECONDS = 30.0
ORT_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


def observe(
    model: ir.Model,
    feeds: Iterable[Feed],
    seen: Observations,
    *,
    progress: Callable[[int], None] | None = None,
    checkpoint: Callable[[Observations], None] | None = None,
    threads: int = 0,
) -> Observations:
    """Count every float activation that any placement may quantize, into `seen`; `model` is left alone.

    `feeds` are the batches of the shard that `seen` is, from its first: those that are counted already are passed over.
    Each has an array for every input of the graph, images along axis 0; they are seen once and not kept, so memory is
    that of one batch's activations. `progress` is told how many batches are done, `checkpoint` is called now and then
    with what there is so far. Raises UsageError for a batch that does not fit, for no images at all and for images that
    are all of one color, UnsupportedGraph for a graph that is not plainly float32 and where an input or an activation
    is NaN or infinite (naming the value).
    """
    probe = model.clone()
    require_plain(probe)
    inputs = [value for value in probe.graph.inputs if not value.is_initializer()]
    values = [value for value in calibrated_values(probe) if not value.is_graph_input()]
    probe.graph.outputs.extend(value for value in values if not value.is_graph_output())
    floats = [value for value in inputs if value.dtype == ir.DataType.FLOAT]
    for value in (*floats, *values):
        seen.histograms.setdefault(str(value.name), Histogram())
    runner = open_session(probe, optimize=True, threads=threads)
    counted, saved = _counted(inputs), time.monotonic()
    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        for feed in islice(feeds, seen.done, None):
            _observe(runner, inputs, feed, seen.histograms, pool)
            seen.done += 1
            seen.images += len(feed[counted])
            if progress is not None:
                progress(seen.done)
            if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                checkpoint(seen)
                saved = time.monotonic()
    _require_varied(seen, floats)
    return seen


def _require_varied(seen: Observations, floats: Sequence[ir.Value]) -> None:
    """Raises UsageError where no image was seen, or every one was of a single color in all float inputs."""
    if seen.images == 0:
        raise UsageError("there are no calibration images", hint="name a folder that holds some")
    if floats and all(_is_plain(value, seen.histograms[str(value.name)]) for value in floats):
        raise UsageError(
            "all calibration images are of one color", hint="give images like those that the network will see"
        )


def collect(
    model: ir.Model,
    feeds: Iterable[Feed],
    *,
    graph_digest: str,
    data_digest: str,
    method: str = "minmax",
    preprocessing: str = "",
    percentile: float = PERCENTILE,
    threads: int = 0,
) -> CalibrationTable:
    """The table of a few batches that are at hand, in one go. Raises as `observe` and `Observations.table`."""
    if method not in METHODS:
        raise UnknownName("calibration method", method, METHODS)
    batches = list(feeds)
    run = CalibrationRun(
        graph_digest=graph_digest, data_digest=data_digest, preprocessing=preprocessing, batches=len(batches)
    )
    return observe(model, batches, Observations(run), threads=threads).table(method, percentile=percentile)


def _is_plain(value: ir.Value, found: Histogram) -> bool:
    """Whether an input has no more different values than channels, which are each normalized by themselves."""
    sizes = [value.shape[axis] for axis in (1, -1)] if value.shape is not None and len(value.shape) > 1 else []
    channels = min((size for size in sizes if isinstance(size, int)), default=1)  # in front, or last
    return bool(np.count_nonzero(found.counts) <= channels)


def _counted(inputs: Sequence[ir.Value]) -> str:
    """The input whose rows are images: one with a free batch if there is any."""
    free = [value for value in inputs if value.shape is not None and not isinstance(value.shape[0], int)]
    return str((free or inputs)[0].name)


def _observe(
    runner: "InferenceSession",
    inputs: Sequence[ir.Value],
    feed: Feed,
    histograms: dict[str, Histogram],
    pool: ThreadPoolExecutor,
) -> None:
    """Run one batch, then count: each value in a thread, for NumPy lets go of the interpreter while it counts."""
    if any(len(array) == 0 for array in feed.values()):
        return
    fed = [str(value.name) for value in inputs if str(value.name) in histograms]
    for name in fed:
        if name in feed:
            _extremes(name, feed[name])
    names = [name for name in histograms if name not in fed]
    try:
        results = runner.run(names, dict(feed)) if names else []  # no names would mean all outputs
    except Exception as error:
        _require_fit(runner, feed)
        raise ExecutionFailed(f"ONNX Runtime could not run the float graph: {one_line(error)}") from error
    arrays = [*(feed[name] for name in fed), *results]
    for _ in pool.map(partial(_count, histograms), (*fed, *names), arrays):
        pass


def _count(histograms: dict[str, Histogram], name: str, values: Array) -> None:
    histograms[name].observe(values, *_extremes(name, values))


def _extremes(name: str, values: Array) -> tuple[float, float]:
    """NaN survives min and max, and infinity is an extreme, so two reductions tell, without a temporary."""
    lo, hi = float(values.min()), float(values.max())
    if not (math.isfinite(lo) and math.isfinite(hi)):
        raise UnsupportedGraph(
            f"calibration: {name!r} is NaN or infinite",
            hint="check the images and their preprocessing, and that the network computes finite numbers in fp32",
        )
    return lo, hi


def _require_fit(runner: "InferenceSession", feed: Feed) -> None:
    """Raise UsageError for an input that is missing, or fed in another type or shape."""
    for wanted in runner.get_inputs():
        dtype = ORT_TYPES.get(wanted.type, wanted.type)
        if wanted.name not in feed:
            raise UsageError(f"a calibration batch has no array for {wanted.name}, which is {dtype}{wanted.shape}")
        array = feed[wanted.name]
        if array.dtype != dtype or not _fits(array.shape, wanted.shape):
            raise UsageError(
                f"a calibration batch is {array.dtype}{list(array.shape)}, the network takes {dtype}{wanted.shape}"
            )


def _fits(shape: tuple[int, ...], expected: list[int | str]) -> bool:
    return len(shape) == len(expected) and all(
        isinstance(wanted, str) or wanted == size for size, wanted in zip(shape, expected, strict=True)
    )
