"""Give a 1x1 convolution behind a Concat a dilation of 2: the same sums, and TensorRT-RTX leaves it a convolution.

A dilation d spreads the taps of a kernel over every d-th pixel; a kernel of one tap has none to spread:

    y[o, p] = b[o] + sum over c of W[o, c, 0] x[c, s p + 0 d]      for every d

TensorRT-RTX turns a plain FP16 1x1 convolution of 256 channels and more into a matrix product (a layer that it marks
`__gemm_from_conv1x1`). That needs the image as a matrix, (C, H W). Of most tensors that is a view; the result of a
Concat, into which the branches wrote their channels, is copied first, and the Concat in which the branches end may
get a kernel of its own. A dilation keeps the convolution a convolution. In FP32 there is no such matrix product, and
the plan stays as it is. The figures are in docs/decisions/fp16-gemm.md.

It is cost-based, and never done unasked: a plan counts kernels and bytes, and does not say which is faster on a GPU.

No site is what stays a convolution anyway: one with groups, strides, padding or a dilation, with fewer than 256 output
channels, or whose result is added to a residual.

Skips a site, with the reason, when

1. it lies in the body of an If, Loop or Scan,
2. the size of the weight is not known.
"""

from functools import partial

import onnx_ir as ir

from deploykit.graph.rewrite import Fusion, Rewrite, Unmet

SMALLEST = 256  # output channels; TensorRT-RTX 1.7 leaves 224 a convolution
DILATION = 2
PLAIN = {"strides": 1, "dilations": 1, "pads": 0}


def _attempt(conv: ir.Node, graph: ir.Graph) -> Rewrite | Unmet | None:  # noqa: ARG001 - the signature of attempts
    source = conv.inputs[0].producer() if conv.inputs[0] is not None else None
    if source is None or source.domain or source.op_type != "Concat" or not _is_plain(conv) or _is_added(conv):
        return None
    shape = conv.inputs[1].shape if conv.inputs[1] is not None else None
    sizes = [size for size in shape or () if isinstance(size, int)]
    if shape is None or len(sizes) != len(shape):
        return Unmet("the size of the weight is not known")
    if sizes[0] < SMALLEST or any(size != 1 for size in sizes[2:]):
        return None
    return partial(_dilate, conv, len(sizes) - 2)


def _is_plain(conv: ir.Node) -> bool:
    """Neither groups nor strides, padding or dilation."""
    return conv.attributes.get_int("group", 1) == 1 and all(
        step == plain for name, plain in PLAIN.items() for step in conv.attributes.get_ints(name) or ()
    )


def _is_added(conv: ir.Node) -> bool:
    return any(use.node.op_type == "Add" for use in conv.outputs[0].uses())


def _dilate(conv: ir.Node, axes: int) -> None:
    conv.attributes["dilations"] = ir.AttrInt64s("dilations", [DILATION] * axes)


dilate_pointwise = Fusion(
    "dilate_pointwise",
    "a 1x1 convolution after a Concat into a dilated one, which stays a convolution",
    ("Conv",),
    _attempt,
)
