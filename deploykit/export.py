"""A PyTorch module becomes a graph, as torch wrote it: nothing optimized, every node still tied to its module.

One thing is put right: a pooling of which torch's exporter says that it makes more windows than torch makes.

`torch.onnx.export` runs without its optimizer, which would fold BatchNorm in float32 and relabel the convolution with
the BatchNorm's scope; deploykit's own passes (`deploykit.graph`) do that work and account for it.
"""

import contextlib
import copy
import io
import keyword
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from deploykit.errors import ExportFailed
from deploykit.graph.passes.separate_outputs import separate_outputs
from deploykit.graph.rewrite import NAME_SCOPES
from deploykit.graph.sizes import note_ranges
from deploykit.modules.calling import arguments, without_autocast
from deploykit.modules.outputs import returning_a_tuple
from deploykit.modules.torch_errors import explain
from deploykit.spec import TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

OPSET = 20
TRACED_BATCH = 2  # torch.export turns a dimension of 0 or 1 into a constant
POOLINGS = ("AveragePool", "MaxPool")
ONE_AT_A_TIME = threading.RLock()  # torch.onnx.export keeps its registries, and we its output streams, in globals


def export_module(
    module: "nn.Module",
    inputs: TensorSpec | tuple[TensorSpec, ...],
    *,
    output_names: tuple[str, ...] = ("logits",),
) -> ir.Model:
    """The raw graph of `module` for its inputs, opset 20; weights are shared with the module, not copied.

    Dimensions that `inputs` name (`"batch"`) stay free. Inputs with the names of forward's parameters are those; any
    others are given in their order. Each node keeps its module path under
    `rewrite.NAME_SCOPES`; stack traces and other texts that would carry source paths into the file are dropped, so
    that two exports of one module, in any two processes, serialize to the same bytes.

    Raises ExportFailed when the module is in training mode, torch cannot trace it, or its code fixes a dimension
    that is to stay free.
    """
    kind = type(module).__name__
    _require_traceable(kind, module)
    specs = (inputs,) if isinstance(inputs, TensorSpec) else inputs
    try:
        model = _trace(_with_plain_weights(module), specs, output_names)
    except Exception as error:
        reason = explain(error)
        raise ExportFailed(f"torch.onnx could not export {kind}: {reason.what}", hint=reason.hint) from error
    if model is None:
        raise ExportFailed(f"torch.onnx could not export {kind}: it returned no graph")
    made = {str(value.name): value for value in model.graph.inputs}
    for spec in specs:
        _require_free_dimensions(kind, spec, made[spec.name])
    _require_no_bfloat16(kind, model)
    separate_outputs(model)
    _round_down_where_torch_did(model)
    _strip_bulk(model)
    note_ranges(model, {name: sizes for spec in specs for name, sizes in spec.ranges})
    return model


def _require_no_bfloat16(kind: str, model: ir.Model) -> None:
    """ONNX's convolutions know no bfloat16 before opset 22. Weights are float32 here, so forward has chosen it."""
    for node in model.graph:
        if node.op_type != "Cast" and any(value.dtype == ir.DataType.BFLOAT16 for value in node.outputs):
            raise ExportFailed(
                f"torch.onnx could not export {kind}: its forward computes in bfloat16 ({node.name}: {node.op_type})",
                hint="take autocast and casts to bfloat16 out of forward; the build chooses the precision",
            )


def _require_traceable(kind: str, module: "nn.Module") -> None:
    import torch

    if any(part.training for part in module.modules()):
        raise ExportFailed(f"{kind} is in training mode", hint="call .eval() on it before the export")
    scripted = next((name for name, part in module.named_modules() if isinstance(part, torch.jit.ScriptModule)), None)
    if scripted is not None:
        raise ExportFailed(
            f"torch.onnx could not export {kind}: {scripted or 'it'} is a TorchScript module",
            hint="build it from its Python class and load the weights into that",
        )


def _with_plain_weights(module: "nn.Module") -> "nn.Module":
    """`module`, or a copy in which a parametrized weight is the value that it has.

    What `torch.nn.utils.parametrize` computes may have no counterpart in ONNX (an orthogonal weight solves a system).
    """
    from torch import nn
    from torch.nn.utils import parametrize

    if not any(parametrize.is_parametrized(part) for part in module.modules()):
        return module
    plain = copy.deepcopy(module)
    for part in [part for part in plain.modules() if parametrize.is_parametrized(part)]:
        values = {
            name: getattr(part, name).detach() for name, _ in part.get_submodule("parametrizations").named_children()
        }
        part.__class__ = parametrize.type_before_parametrizations(part)  # the one that has them is the original's too
        del part.parametrizations
        for name, value in values.items():
            part.register_parameter(name, nn.Parameter(value, requires_grad=False))
    return plain


def _trace(module: "nn.Module", specs: tuple[TensorSpec, ...], output_names: tuple[str, ...]) -> ir.Model | None:
    import torch

    samples = {spec.name: _sample(module, spec) for spec in specs}
    positional, named = arguments(module, samples)
    free = _free_dimensions(specs)
    shapes = {name: free[name] for name in named} if named else tuple(free.values())
    with ONE_AT_A_TIME, _quiet(), _names_of_any_kind(), torch.no_grad(), without_autocast(), returning_a_tuple(module):
        program = torch.onnx.export(
            module,
            positional,
            kwargs=named or None,
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=OPSET,
            input_names=list(named or samples),
            output_names=list(output_names),
            dynamic_shapes=shapes,
        )
    return None if program is None else program.model


def _sample(module: "nn.Module", spec: TensorSpec) -> "torch.Tensor":
    import torch

    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
    return torch.zeros(spec.at_batch(TRACED_BATCH), dtype=getattr(torch, spec.dtype), device=device)


def _free_dimensions(specs: tuple[TensorSpec, ...]) -> dict[str, dict[int, Any]]:
    """The free dimensions by input and axis; one name in two inputs is one dimension."""
    from torch.export import Dim

    ranges = {name: sizes for spec in specs for name, sizes in spec.ranges}
    names = dict.fromkeys(size for spec in specs for size in spec.shape if isinstance(size, str))
    dims = {
        name: Dim(name, min=ranges[name].minimum, max=ranges[name].maximum) if name in ranges else Dim(name)
        for name in names
    }
    return {
        spec.name: {axis: dims[size] for axis, size in enumerate(spec.shape) if isinstance(size, str)} for spec in specs
    }


def _require_free_dimensions(kind: str, spec: TensorSpec, found: ir.Value) -> None:
    """torch.onnx gives up a free dimension without a word when the traced code cannot do with it."""
    for axis, (asked, got) in enumerate(zip(spec.shape, found.shape or (), strict=False)):
        if isinstance(asked, str) and isinstance(got, int):
            raise ExportFailed(
                f"{kind} works only where dimension {axis} ({asked}) of its input is {got}, as traced",
                hint="take that size from the input (x.shape[0], x.flatten(1)) instead of writing it down, and do not "
                "loop over the images of a batch",
            )


def _round_down_where_torch_did(model: ir.Model) -> None:
    """Take `ceil_mode` off a pooling whose last window torch left out, so that every runtime makes torch's shape.

    Side L, padding p and q, kernel k, stride s: (L + p + q - k) / s + 1 windows, with `ceil_mode` rounded up. torch
    leaves out a window that starts beyond L + p, in the far padding; ONNX's shape inference and TensorRT count it. A
    pooling that leaves one out along one axis alone stays as it is, for `graph.check` to refuse.
    """
    for node in model.graph:
        if node.op_type in POOLINGS and node.attributes.get_int("ceil_mode") == 1:
            found, down, up = _window_counts(node)
            if found == down != up:
                node.attributes["ceil_mode"] = ir.AttrInt64("ceil_mode", 0)


def _window_counts(node: ir.Node) -> tuple[list[int], list[int], list[int]]:
    """How many windows a pooling has along each axis: as traced, and by the formula rounded down and up."""
    images, maps = node.inputs[0], node.outputs[0]
    if images is None or images.shape is None or maps.shape is None:
        return [], [], []
    sides, found = _fixed(images.shape), _fixed(maps.shape)
    kernel, strides, pads = (node.attributes.get_ints(name) or () for name in ("kernel_shape", "strides", "pads"))
    if not len(sides) == len(kernel) == len(strides) == len(pads) / 2:
        return [], [], []
    dilations = node.attributes.get_ints("dilations") or (1,) * len(kernel)
    padding = [before + after for before, after in zip(pads[: len(sides)], pads[len(sides) :], strict=True)]
    reaches = [dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    spare = [side + extra - reach for side, extra, reach in zip(sides, padding, reaches, strict=True)]
    down = [free // stride + 1 for free, stride in zip(spare, strides, strict=True)]
    up = [-(-free // stride) + 1 for free, stride in zip(spare, strides, strict=True)]
    return found, down, up


def _fixed(shape: ir.Shape) -> list[int]:
    """The spatial sizes that are numbers."""
    return [size for size in list(shape)[2:] if isinstance(size, int)]


@contextlib.contextmanager
def _names_of_any_kind() -> Iterator[None]:
    """Let a module be called `class` or `in`: torch.fx writes code with `self.class.weight` in it, which is no Python.

    Inside, it asks for such names by `getattr`, as it does for those that are no identifiers.
    """
    from torch.fx import graph

    before = graph._format_target

    def by_attribute(base: str, target: str) -> str:
        for name in target.split("."):
            plain = name.isidentifier() and not keyword.iskeyword(name)
            base = f"{base}.{name}" if plain else f"getattr({base}, {name!r})"
        return base

    graph._format_target = by_attribute
    try:
        yield
    finally:
        graph._format_target = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter: it warns, logs, and on failure prints every graph it tried, on stdout and stderr."""
    disabled, sink = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            yield
    finally:
        logging.disable(disabled)


def _strip_bulk(model: ir.Model) -> None:
    """Keep module scopes and nothing else of what the exporter noted down."""
    model.metadata_props.clear()
    model.doc_string = None
    for graph in model.graphs():
        values = [*graph.inputs, *graph.initializers.values()]
        _forget(graph)
        for node in graph:
            scopes = node.metadata_props.get(NAME_SCOPES)
            _forget(node)
            if scopes:
                node.metadata_props[NAME_SCOPES] = scopes
            values.extend(node.outputs)
        for value in values:
            _forget(value)
            if value.const_value is not None:
                _forget(value.const_value)


def _forget(part: ir.Graph | ir.Node | ir.Value | ir.TensorProtocol) -> None:
    part.metadata_props.clear()
    part.doc_string = None
