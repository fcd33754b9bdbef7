"""Run the float graph on calibration images and remember the range of every activation."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from deploykit.errors import ExecutionFailed, UnknownName, UsageError, one_line
from deploykit.ort_session import open_session
from deploykit.precision.calibrate.observers import OBSERVERS, Observer
from deploykit.precision.calibrate.table import CalibrationTable
from deploykit.precision.preconditions import require_plain
from deploykit.precision.sites import calibrated_values

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Array = np.ndarray[Any, Any]


def collect(
    model: ir.Model,
    batches: Iterable[Array],
    *,
    graph_digest: str,
    data_digest: str,
    method: str = "minmax",
    preprocessing: str = "",
    progress: Callable[[int], None] | None = None,
    threads: int = 0,
) -> CalibrationTable:
    """The ranges of every float activation that any placement may quantise; `model` is left alone.

    `batches` are float32 arrays for the graph's one input, images along axis 0; they are seen once and not kept, so
    memory is that of one batch's activations. `graph_digest` is the SHA-256 of the optimised graph, serialised.
    `progress` is told how many images are done. Raises UnknownName for the method, UsageError for a batch that does
    not fit, holds NaN or infinity, or drives an activation there (naming the value), and for no images at all.
    """
    if method not in OBSERVERS:
        raise UnknownName("calibration method", method, OBSERVERS)
    probe = model.clone()
    require_plain(probe)
    graph_input = _only_input(probe)
    values = [value for value in calibrated_values(probe) if not value.is_graph_input()]
    probe.graph.outputs.extend(value for value in values if not value.is_graph_output())
    observers = {str(value.name): OBSERVERS[method]() for value in (graph_input, *values)}
    runner = open_session(probe, optimise=True, threads=threads)
    images = 0
    for batch in batches:
        _observe(runner, str(graph_input.name), batch, observers)
        images += len(batch)
        if progress is not None:
            progress(images)
    if images == 0:
        raise UsageError("there are no calibration images", hint="name a folder that holds some")
    ranges = {name: observer.range() for name, observer in observers.items()}
    return CalibrationTable(graph_digest, data_digest, method, images, ranges, preprocessing)


def _only_input(model: ir.Model) -> ir.Value:
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    if len(inputs) != 1 or inputs[0].dtype != ir.DataType.FLOAT:
        names = ", ".join(f"{value.name} ({value.dtype})" for value in inputs)
        raise UsageError(f"calibration feeds one float32 input, this graph has: {names or 'none'}")
    return inputs[0]


def _observe(runner: "InferenceSession", graph_input: str, batch: Array, observers: dict[str, Observer]) -> None:
    if len(batch) == 0:
        return
    _require_finite(graph_input, batch)
    observers[graph_input].observe(batch)
    names = [name for name in observers if name != graph_input]
    try:
        results = runner.run(names, {graph_input: batch})
    except Exception as error:
        shape = runner.get_inputs()[0].shape
        if batch.dtype != np.float32 or not _fits(batch.shape, shape):
            raise UsageError(
                f"a calibration batch is {batch.dtype}{list(batch.shape)}, the network takes float32{shape}"
            ) from error
        raise ExecutionFailed(f"ONNX Runtime could not run the float graph: {one_line(error)}") from error
    for name, values in zip(names, results, strict=True):
        _require_finite(name, values)
        observers[name].observe(values)


def _require_finite(name: str, values: Array) -> None:
    """NaN survives min and max, and infinity is an extreme, so two reductions tell, without a temporary."""
    if not np.isfinite(values.min()) or not np.isfinite(values.max()):
        raise UsageError(
            f"calibration: {name!r} is NaN or infinite",
            hint="check the images and their preprocessing, and that the network computes finite numbers in fp32",
        )


def _fits(shape: tuple[int, ...], expected: list[int | str]) -> bool:
    return len(shape) == len(expected) and all(
        isinstance(wanted, str) or wanted == size for size, wanted in zip(shape, expected, strict=True)
    )
