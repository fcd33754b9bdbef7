"""What is right for an `.onnx` file: what ONNX Runtime computes on the file as it came, not on our reading of it.

float64 needs the graph as deploykit reads it: opset brought up, functions inlined, names made unique. That answer is
believed where ONNX Runtime, on the file's own bytes and with its optimizer off, gives the same in the file's own types.
So a wrong conversion, ours or a library's, cannot vouch for itself: then ONNX Runtime's answer is what is right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from deploykit.errors import BuildFailed, DeploykitError, one_line
from deploykit.parity.metrics import distance
from deploykit.parity.reference import (
    FIRST,
    BatchAxes,
    Outputs,
    Reference,
    apart,
    graph_reference,
    joined,
    unlike,
)
from deploykit.spec.arrays import Array
from deploykit.spec.operators import is_quantized

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

# How far apart two right answers in one type may be, relative L2: sums in another order, float16's and bfloat16's
# rounding, integers that fall on the other side of a half.
AGREE = {"FLOAT": 1e-3, "DOUBLE": 1e-3, "FLOAT16": 3e-2, "BFLOAT16": 0.2, "quantized": 0.1}
WHOLE_AGREE = 0.95  # the share of whole numbers (labels, indices) that must be the same
STAND_IN_FLOOR = 1e-5  # relative L2 that float32 may be off where it stands in for float64: a deep network's noise


def file_reference(
    file: onnx.ModelProto,
    model: ir.Model,
    feeds: Sequence[Mapping[str, Array]],
    axes: BatchAxes = FIRST,
    keep_apart: Collection[str] = (),
) -> Reference:
    """The reference of the `file` that `model` was read from, on feeds by input name; what each gives is `joined`.

    Where ONNX Runtime does not run the file, `model` alone is asked, and the source says so. Where float64 is unknown
    or is another answer, ONNX Runtime's float32 stands in for it, with STAND_IN_FLOOR. Raises ExecutionFailed for a
    graph that gives another answer each time, and where nothing can compute it; BuildFailed.
    """
    names = [str(value.name) for value in model.graph.outputs]
    try:
        content = _content(file)
        runs = _run(content, names, feeds, optimize=False)
    except DeploykitError as error:
        found = graph_reference(model, feeds, axes, keep_apart)
        return replace(found, source=f"{found.source}, as deploykit reads the file: {error.message}")
    loose = {*keep_apart, *unlike(axes, runs)}
    ran = joined(runs, axes, loose)
    try:
        found = graph_reference(model, feeds, axes, loose)
        stray = _stray(ran, found.exact, _tolerance(model))
    except DeploykitError as error:
        once, again = _run(content, names, [feeds[0], feeds[0]], optimize=False)
        if not _same(once, again):
            raise
        stray = error.message
    if not stray:
        return replace(found, float32=ran)
    return Reference(
        exact={name: _widened(array) for name, array in ran.items()},
        float32=joined(_run(content, names, feeds, optimize=True), axes, loose),
        source=f"ONNX Runtime in float32 on the file as it came: {stray}",
        least_floor=STAND_IN_FLOOR,
    )


def _content(file: onnx.ModelProto) -> bytes:
    try:
        return bytes(file.SerializeToString())
    except Exception as error:  # protobuf's error classes differ between its implementations
        raise BuildFailed(f"the file is too large for one piece: {one_line(error)}") from error


def _run(
    content: bytes, names: Sequence[str], feeds: Sequence[Mapping[str, Array]], *, optimize: bool
) -> list[Outputs]:
    """The file's outputs, in its own order, under the names of our reading."""
    from deploykit.ort_session import compute, open_session

    session = open_session(content, optimize=optimize)
    theirs = [output.name for output in session.get_outputs()]
    found = []
    for feed in feeds:
        outputs = compute(session, list(dict.fromkeys(theirs)), feed)
        found.append({name: outputs[own] for name, own in zip(names, theirs, strict=True)})
    return found


def _same(first: Outputs, again: Outputs) -> bool:
    return all(np.array_equal(array, again[name], equal_nan=array.dtype.kind == "f") for name, array in first.items())


def _tolerance(model: ir.Model) -> float:
    """What the coarsest type in which the graph computes allows."""
    kinds = {node.outputs[0].dtype.name for node in model.graph.all_nodes() if node.outputs[0].dtype is not None}
    if any(is_quantized(node.op_type) for node in model.graph.all_nodes()):
        kinds.add("quantized")
    return max([AGREE[kind] for kind in kinds if kind in AGREE], default=AGREE["FLOAT"])


def _stray(ran: Outputs, exact: Outputs, tolerance: float) -> str:
    """Which output float64 puts elsewhere than ONNX Runtime does, in words; empty where they agree."""
    for name, array in ran.items():
        other = exact[name]
        if apart(array) or apart(other):
            continue  # sizes are the data's: `float32` and `exact` are compared as sets when rows are judged
        if array.shape != other.shape:
            return f"float64 gives {name} the shape {other.shape}, ONNX Runtime {array.shape}"
        if array.dtype.kind == "f":
            both = np.isfinite(array) & np.isfinite(other)
            gap = distance(np.where(both, array, 0), np.where(both, other, 0)).relative_l2
            if gap > tolerance or np.mean(np.isfinite(array) != np.isfinite(other)) > 0.01:
                return f"its answer and float64's for {name} are {gap:.2g} apart, relative L2"
        elif array.size and np.mean(array == other) < WHOLE_AGREE:
            return f"{np.mean(array != other):.0%} of {name} differ from float64's"
    return ""


def _widened(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array
