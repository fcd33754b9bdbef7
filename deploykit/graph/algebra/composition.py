"""One convolution behind another with nothing between them, seen as a single one.

    y = W2 (W1 x + b1) + b2 = (W2 W1) x + (b2 + W2 b1)

One of the two has a single tap, so the product has the taps of the other. Tap t of window i of the second one reads
the intermediate pixel i s2 - p2 + t d2, and tap u of the window j of the first one the pixel j s1 - p1 + u d1:

    the second has one tap, no padding     i s1 s2 - p1 + u d1          strides s1 s2, padding p1,    dilation d1
    the first has one tap, no padding      i s1 s2 - s1 p2 + t s1 d2    strides s1 s2, padding s1 p2, dilation s1 d2

Also the number of windows is the same, for every size of the image: rounding down twice is rounding down once.

Padding around the intermediate image holds 0 and not W1 x + b1 = b1, so in the second case the product is right at the
border only without that bias. Padding around the intermediate image of a first kernel with several taps, or around a
kernel of one tap in the first place, makes windows that no single convolution has.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import onnx_ir as ir

from deploykit.graph.algebra.linear import Linear, Parameters, checked, read_linear, write
from deploykit.graph.algebra.window import Window, read_window
from deploykit.graph.rewrite import Rewrite, Unmet, drop, other_use
from deploykit.spec.arrays import Array

Kernels = Array  # (group, outputs of a group, inputs of a group, taps), float64
Product = Callable[[Kernels, Kernels], Array]


def convolution_before(conv: ir.Node) -> ir.Node | None:
    """The Conv that makes the image of a Conv."""
    first = conv.inputs[0].producer() if conv.inputs[0] is not None else None
    return first if first is not None and first.op_type == "Conv" and not first.domain else None


def groups(conv: ir.Node) -> int:
    return conv.attributes.get_int("group", 1)


def taps(conv: ir.Node) -> tuple[int, ...] | None:
    """The spatial size of a convolution's kernel; None where it is not known."""
    weight = conv.inputs[1]
    sizes = weight.shape.dims[2:] if weight is not None and weight.shape is not None else (None,)
    known = tuple(size for size in sizes if isinstance(size, int))
    return known if len(known) == len(sizes) else None


def is_pointwise(conv: ir.Node) -> bool:
    return set(taps(conv) or ()) == {1}


@np.errstate(over="ignore", invalid="ignore")  # what overflows is found, and refused
def compose(first: ir.Node, second: ir.Node, graph: ir.Graph, *, product: Product) -> Rewrite | Unmet:
    """Let `second` compute both, with the weight that `product` makes of the kernels of the two, second one first.

    The groups stay those of `second`, so the product has (outputs, inputs of a group, taps). Answers with the reason
    where the two are not one convolution, or their parameters cannot be read or stored.
    """
    if reason := other_use(first.outputs[0], called="intermediate"):
        return reason
    before, behind = read_linear(first), read_linear(second)
    if isinstance(before, Unmet):
        return before
    if isinstance(behind, Unmet):
        return behind
    if before.channels_out != behind.channels_in:
        return Unmet(f"the first makes {before.channels_out} channels, the second reads {behind.channels_in}")
    window = _window(before, behind)
    if isinstance(window, Unmet):
        return window
    kernels = _kernels(behind)
    with_bias = before.bias.any()
    through = np.einsum("gomt,gm->go", kernels, _per_group(before.bias, behind)) if with_bias else np.zeros(())
    weight = product(kernels, _kernels(before)).reshape(len(behind.weight), -1, *window.kernel)
    parameters = checked(
        behind, weight.astype(behind.weight.dtype), behind.bias + through.reshape(-1) if with_bias else None
    )
    return parameters if isinstance(parameters, Unmet) else partial(_rewrite, first, behind, window, parameters, graph)


def _rewrite(first: ir.Node, behind: Linear, window: Window, parameters: Parameters, graph: ir.Graph) -> None:
    write(behind, parameters, graph)
    window.write(behind.node)
    behind.node.replace_input_with(0, first.inputs[0])
    drop(first, graph)


def _window(before: Linear, behind: Linear) -> Window | Unmet:
    """The window of both together, or why there is none."""
    first, second = (read_window(linear.node, linear.weight.shape[2:]) for linear in (before, behind))
    if {first.auto_pad, second.auto_pad} != {"NOTSET"}:
        return Unmet("the padding is placed by auto_pad, which depends on the size of the image")
    strides = _times(first.strides, second.strides)
    if second.is_pointwise and not second.is_padded:
        return replace(first, strides=strides)
    if not first.is_pointwise or first.is_padded:
        return Unmet("the 1x1 convolution pads")
    if second.is_padded and before.bias.any():
        return Unmet("the second pads with zeros, which the bias of the first does not reach")
    return replace(
        second,
        strides=strides,
        dilations=_times(first.strides, second.dilations),
        pads=_times(first.strides * 2, second.pads),
    )


def _times(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    return tuple(one * other for one, other in zip(left, right, strict=True))


def _kernels(linear: Linear) -> Kernels:
    weight = linear.weight.astype(np.float64)
    group = groups(linear.node)
    return weight.reshape(group, len(weight) // group, weight.shape[1], -1)


def _per_group(bias: Array, behind: Linear) -> Array:
    """What is added to each input channel of `behind`, (group, inputs of a group)."""
    return np.broadcast_to(bias, behind.channels_in).reshape(groups(behind.node), -1)
