"""What PyTorch's ATen operators do to receptive fields, and the multiply-accumulates that they take.

Below autograd a few dozen operators are left of all modules and functions; `flatten`, `adaptive_avg_pool2d(1)` or
`local_response_norm` arrive as their parts. An operator that is not in RULES and not pointwise has an unknown field.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from deploykit.summary import field as fields
from deploykit.summary.field import Field, Shape, Untraceable
from deploykit.summary.rows import Convolution

FieldOf = Callable[[Tensor], Field | None]
PRODUCTS = {"mm": "self", "addmm": "mat1", "bmm": "self", "baddbmm": "batch1", "linear": "input"}  # op -> left side


@dataclass(frozen=True)
class AtenCall:
    """One operator call: `arguments` by their names in the schema, the result's `shape`, and the known fields."""

    op: str
    pointwise: bool
    arguments: Mapping[str, Any]
    shape: Shape
    field_of: FieldOf

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def field(self, name: str) -> Field:
        """The field of an argument that has to depend on the image."""
        found = self.field_of(self[name])
        if found is None:
            raise Untraceable
        return found

    @property
    def fields(self) -> list[Field]:
        """Those of all arguments that depend on the image."""
        return [found for tensor in tensors(self.arguments.values()) if (found := self.field_of(tensor)) is not None]

    def per_axis(self, name: str, axes: int, *, default: str = "") -> list[Any]:
        """A list argument with one entry per window axis; an empty one means that of `default`, else ones."""
        given = self.arguments.get(name) or (self[default] if default else [1])
        return list(given) * axes if len(given) == 1 else list(given)


def bind(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], shape: Shape, field_of: FieldOf) -> AtenCall:
    """`func`, an ATen overload, with its arguments by name; an in-place variant has the name of the plain one."""
    named = {}
    for index, argument in enumerate(func._schema.arguments):
        if index < len(args):
            named[argument.name] = args[index]
        else:
            named[argument.name] = kwargs.get(argument.name, argument.default_value)
    op = func._schema.name.partition("::")[2].rstrip("_")
    return AtenCall(op, torch.Tag.pointwise in func.tags, named, shape, field_of)


def tensors(values: Any) -> list[Tensor]:
    """Every tensor in `values`, also in lists and tables inside it."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, Mapping):
        values = values.values()
    elif isinstance(values, str) or not hasattr(values, "__iter__"):
        return []
    return [tensor for value in values for tensor in tensors(value)]


def propagate(call: AtenCall) -> Field:
    """The result's field. Raises Untraceable."""
    if call.op in RULES:
        return RULES[call.op](call)
    if call.pointwise:
        return fields.join(call.fields, call.shape)
    raise Untraceable


def multiply_accumulates(call: AtenCall) -> int:
    """Those of a convolution or a matrix product, biases left out; 0 for everything else.

    Each element of a convolution's output takes one filter; each element of a transposed convolution's input meets one.
    """
    if call.op == "convolution":
        elements = call["input"].numel() if call["transposed"] else prod(call.shape)
        return int(elements * call["weight"][0].numel())
    if call.op in PRODUCTS:
        return prod(call.shape) * int(call[PRODUCTS[call.op]].shape[-1])
    return 0


def convolution_of(call: AtenCall) -> Convolution | None:
    """The geometry of a plain convolution; None for other operators."""
    if call.op != "convolution" or call["transposed"]:
        return None
    kernel = tuple(call["weight"].shape[2:])
    return Convolution(
        inputs=call["input"].shape[1],
        outputs=call.shape[1],
        kernel=kernel,
        stride=tuple(call.per_axis("stride", len(kernel))),
        groups=call["groups"],
    )


def _convolution(call: AtenCall) -> Field:
    if call.field_of(call["weight"]) is not None:  # a filter that is computed from the image
        raise Untraceable
    kernel = call["weight"].shape[2:]
    seen = fields.span(call.field("input"), [1])
    stride = call.per_axis("stride", len(kernel))
    dilation = call.per_axis("dilation", len(kernel))
    slide = fields.slide_transposed if call["transposed"] else fields.slide
    return slide(seen, call.shape, kernel, stride=stride, dilation=dilation)


def _pool(axes: int) -> Callable[[AtenCall], Field]:
    def rule(call: AtenCall) -> Field:
        kernel = call.per_axis("kernel_size", axes)
        stride = call.per_axis("stride", axes, default="kernel_size")
        dilation = call.per_axis("dilation", axes)
        return fields.slide(call.field("self"), call.shape, kernel, stride=stride, dilation=dilation)

    return rule


def _adaptive_pool(axes: int) -> Callable[[AtenCall], Field]:
    return lambda call: fields.pool_adaptively(call.field("self"), call.shape, axes)


def _interpolate(neighbors: int) -> Callable[[AtenCall], Field]:
    return lambda call: fields.interpolate(call.field("self"), call.shape, neighbors=neighbors)


def _reduce(call: AtenCall) -> Field:
    """A mean, sum or extreme over `dim`; over everything where none is given."""
    given = call.arguments.get("dim")
    field = call.field("self")
    axes = range(len(field.layout)) if given in (None, []) else [given] if isinstance(given, int) else given
    return fields.span(field, list(axes), drop=not call.arguments.get("keepdim", False))


def _softmax(call: AtenCall) -> Field:
    return fields.span(call.field("self"), [call["dim"]], keep=True)


def _batch_norm(call: AtenCall) -> Field:
    """Pointwise with running statistics; with those of the batch it sees all of the image."""
    field = call.field("input")
    return fields.span_image(field) if call.arguments.get("training") else field


def _layer_norm(call: AtenCall) -> Field:
    return fields.span(call.field("input"), [-1 - axis for axis in range(len(call["normalized_shape"]))], keep=True)


def _unchanged(call: AtenCall) -> Field:
    return fields.join(call.fields, call.shape)


def _reshape(call: AtenCall) -> Field:
    return fields.reshape(call.field("self"), call.shape)


def _resize(call: AtenCall) -> Field:
    return fields.resize(call.field("self"), call.shape)


def _slice(call: AtenCall) -> Field:
    return fields.step(call.field("self"), call.shape, call["dim"], every=call["step"])


def _index_select(call: AtenCall) -> Field:
    """Chosen channels. Chosen positions of the image need not be evenly apart."""
    field = call.field("self")
    if any(run.along is not None for run in field.layout[call["dim"]]):
        raise Untraceable
    return fields.resize(field, call.shape)


def _select(call: AtenCall) -> Field:
    field = call.field("self")
    axis = call["dim"] % len(field.layout)
    return Field(field.reaches, (*field.layout[:axis], *field.layout[axis + 1 :]))


def _concatenate(call: AtenCall) -> Field:
    """Along an axis of the tensor; the operands may differ in its length."""
    return fields.join([fields.resize(field, call.shape) for field in call.fields], call.shape)


def _stack(call: AtenCall) -> Field:
    length = call.shape[call["dim"]]
    return fields.join([fields.insert(field, call["dim"], length) for field in call.fields], call.shape)


def _transpose(call: AtenCall) -> Field:
    field = call.field("self")
    order = list(range(len(field.layout)))
    one, two = (call.arguments.get(name, place) for place, name in enumerate(("dim0", "dim1")))
    if len(order) > 1:
        order[one], order[two] = order[two], order[one]
    return fields.permute(field, order)


def _product_rule(left: str, right: str) -> Callable[[AtenCall], Field]:
    return lambda call: fields.multiply(call.field_of(call[left]), call.field_of(call[right]), call.shape)


def _linear(call: AtenCall) -> Field:
    return fields.resize(fields.span(call.field("input"), [-1]), call.shape)


RULES: Mapping[str, Callable[[AtenCall], Field]] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _pool(2),
    "max_pool3d_with_indices": _pool(3),
    "avg_pool2d": _pool(2),
    "avg_pool3d": _pool(3),
    "_adaptive_avg_pool2d": _adaptive_pool(2),
    "_adaptive_avg_pool3d": _adaptive_pool(3),
    "adaptive_max_pool2d": _adaptive_pool(2),
    "adaptive_max_pool3d": _adaptive_pool(3),
    "upsample_nearest2d": _interpolate(1),
    "_upsample_nearest_exact2d": _interpolate(1),
    "upsample_bilinear2d": _interpolate(2),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "logsumexp"), _reduce),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm"), _batch_norm),
    "_native_batch_norm_legit_no_training": _unchanged,
    "native_group_norm": lambda call: fields.span_image(call.field("input")),
    "native_layer_norm": _layer_norm,
    **dict.fromkeys(("alias", "clone", "copy", "detach", "expand", "lift_fresh", "_to_copy"), _unchanged),
    **dict.fromkeys(("hardswish", "log_sigmoid_forward", "native_dropout", "_prelu_kernel"), _unchanged),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _unchanged),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "squeeze", "unsqueeze"), _reshape),
    **dict.fromkeys(("split", "split_with_sizes", "repeat", "roll"), _resize),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _resize),
    "slice": _slice,
    "index_select": _index_select,
    **dict.fromkeys(("select", "unbind"), _select),
    "cat": _concatenate,
    "stack": _stack,
    **dict.fromkeys(("t", "transpose"), _transpose),
    "permute": lambda call: fields.permute(call.field("self"), call["dims"]),
    "mm": _product_rule("self", "mat2"),
    "addmm": _product_rule("mat1", "mat2"),
    "bmm": _product_rule("self", "mat2"),
    "baddbmm": _product_rule("batch1", "batch2"),
    "linear": _linear,
}
