"""Run the float graph on calibration images and remember the range of every activation."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from deploykit.backends.protocol import Feed
from deploykit.errors import ExecutionFailed, UnknownName, UnsupportedGraph, UsageError, one_line
from deploykit.ort_session import open_session
from deploykit.precision.calibrate.observers import OBSERVERS, Observer
from deploykit.precision.calibrate.table import CalibrationTable
from deploykit.precision.preconditions import require_plain
from deploykit.precision.sites import calibrated_values

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Array = np.ndarray[Any, Any]
ORT_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


def collect(
    model: ir.Model,
    feeds: Iterable[Feed],
    *,
    graph_digest: str,
    data_digest: str,
    method: str = "minmax",
    preprocessing: str = "",
    progress: Callable[[int], None] | None = None,
    threads: int = 0,
) -> CalibrationTable:
    """The ranges of every float activation that any placement may quantise; `model` is left alone.

    Each of `feeds` has an array for every input of the graph, images along axis 0; they are seen once and not kept, so
    memory is that of one batch's activations. `graph_digest` is the SHA-256 of the optimised graph, serialised.
    `progress` is told how many images are done. Raises UnknownName for the method, UsageError for a batch that does
    not fit and for no images at all, UnsupportedGraph for a graph that is not plainly float32 and where an input or an
    activation is NaN or infinite (naming the value).
    """
    if method not in OBSERVERS:
        raise UnknownName("calibration method", method, OBSERVERS)
    probe = model.clone()
    require_plain(probe)
    inputs = [value for value in probe.graph.inputs if not value.is_initializer()]
    values = [value for value in calibrated_values(probe) if not value.is_graph_input()]
    probe.graph.outputs.extend(value for value in values if not value.is_graph_output())
    floats = [value for value in inputs if value.dtype == ir.DataType.FLOAT]
    observers = {str(value.name): OBSERVERS[method]() for value in (*floats, *values)}
    runner = open_session(probe, optimise=True, threads=threads)
    counted = _counted(inputs)
    images = 0
    for feed in feeds:
        _observe(runner, inputs, feed, observers)
        images += len(feed[counted])
        if progress is not None:
            progress(images)
    if images == 0:
        raise UsageError("there are no calibration images", hint="name a folder that holds some")
    ranges = {name: observer.range() for name, observer in observers.items()}
    return CalibrationTable(graph_digest, data_digest, method, images, ranges, preprocessing)


def _counted(inputs: Sequence[ir.Value]) -> str:
    """The input whose rows are images: one with a free batch if there is any."""
    free = [value for value in inputs if value.shape is not None and not isinstance(value.shape[0], int)]
    return str((free or inputs)[0].name)


def _observe(
    runner: "InferenceSession", inputs: Sequence[ir.Value], feed: Feed, observers: dict[str, Observer]
) -> None:
    if any(len(array) == 0 for array in feed.values()):
        return
    fed = [str(value.name) for value in inputs if str(value.name) in observers]
    for name in fed:
        if name in feed:
            _require_finite(name, feed[name])
    names = [name for name in observers if name not in fed]
    try:
        results = runner.run(names, dict(feed)) if names else []  # no names would mean all outputs
    except Exception as error:
        _require_fit(runner, feed)
        raise ExecutionFailed(f"ONNX Runtime could not run the float graph: {one_line(error)}") from error
    for name in fed:
        observers[name].observe(feed[name])
    for name, values in zip(names, results, strict=True):
        _require_finite(name, values)
        observers[name].observe(values)


def _require_finite(name: str, values: Array) -> None:
    """NaN survives min and max, and infinity is an extreme, so two reductions tell, without a temporary."""
    if not np.isfinite(values.min()) or not np.isfinite(values.max()):
        raise UnsupportedGraph(
            f"calibration: {name!r} is NaN or infinite",
            hint="check the images and their preprocessing, and that the network computes finite numbers in fp32",
        )


def _require_fit(runner: "InferenceSession", feed: Feed) -> None:
    """Raise UsageError for an input that is missing, or fed in another type or shape."""
    for wanted in runner.get_inputs():
        dtype = ORT_TYPES.get(wanted.type, wanted.type)
        if wanted.name not in feed:
            raise UsageError(f"a calibration batch has nothing for {wanted.name}, which is {dtype}{wanted.shape}")
        array = feed[wanted.name]
        if array.dtype != dtype or not _fits(array.shape, wanted.shape):
            raise UsageError(
                f"a calibration batch is {array.dtype}{list(array.shape)}, the network takes {dtype}{wanted.shape}"
            )


def _fits(shape: tuple[int, ...], expected: list[int | str]) -> bool:
    return len(shape) == len(expected) and all(
        isinstance(wanted, str) or wanted == size for size, wanted in zip(shape, expected, strict=True)
    )
