"""Put a 1x1 convolution in front of the AveragePool before it.

    y[o, i] = b[o] + sum over c of W[o, c] sum over p of a[i, p] x[c, p]
            = sum over p of a[i, p] (sum over c of W[o, c] x[c, p] + b[o])      where sum over p of a[i, p] = 1

A pooling is linear, the same for every channel, and so commutes with what mixes channels pixel by pixel. The bias
passes where the weights a[i, .] of every window sum to 1: without padding, or where padding is left out of the count
(count_include_pad=0), provided that every window holds a real pixel; padding on each side is then smaller than the
kernel and the taps lie side by side. Where they may not sum to 1, and with ceil_mode, where runtimes disagree about
what hangs over the end, the bias leaves the convolution and is added behind the pooling.

It is beneficial where the convolution makes fewer channels than it reads, as in the pool branches of the Inception
networks (Szegedy et al., arXiv 1512.00567, figure 5): the pooling then reads and writes fewer. An activation stays
behind the pooling, with a bias that did not pass, and is no longer fused with the convolution; and in front of a
pooling with strides the convolution sees more pixels. Hence it is cost-based, and never done unasked.

Both nodes keep their names; what comes last takes over the name of the result.

Skips a site, with the reason, when

1. the convolution lies in the body of an If, Loop or Scan,
2. another node reads the pooled image, or it is a graph output,
3. the convolution has strides or pads,
4. it makes as many channels as it reads or more,
5. a weight or bias is not a constant, or a weight is not a floating-point number.
"""

from functools import partial

import onnx_ir as ir

from deploykit.graph.algebra.linear import Linear, read_linear
from deploykit.graph.algebra.window import read_window
from deploykit.graph.rewrite import (
    NAME_SCOPES,
    Fusion,
    Rewrite,
    Unmet,
    discard_unused,
    names_in_use,
    new_initializer,
    node_name,
    other_use,
    unused,
)


def _attempt(conv: ir.Node, graph: ir.Graph) -> Rewrite | Unmet | None:
    pool = conv.inputs[0].producer() if conv.inputs[0] is not None else None
    if pool is None or pool.op_type != "AveragePool" or pool.domain:
        return None
    if reason := other_use(pool.outputs[0], called="pooled"):
        return reason
    linear = read_linear(conv)
    if isinstance(linear, Unmet):
        return linear
    window = read_window(conv, linear.weight.shape[2:])
    if not window.is_pointwise:
        return None
    if window.is_padded or set(window.strides) != {1}:
        return Unmet("the convolution has strides or pads")
    if linear.channels_out >= linear.channels_in:
        return Unmet(f"it would pool {linear.channels_out} channels instead of {linear.channels_in}")
    return partial(_rewrite, pool, linear, graph)


def _passes(pool: ir.Node) -> bool:
    """Whether a bias passes the pooling: the weights of every window sum to 1, in every runtime."""
    window = read_window(pool, pool.attributes.get_ints("kernel_shape") or ())
    if pool.attributes.get_int("ceil_mode", 0):
        return False
    if not window.is_padded:
        return True
    if pool.attributes.get_int("count_include_pad", 0) or set(window.dilations) != {1}:
        return False
    return all(pad < size for pad, size in zip(window.pads, window.kernel * 2, strict=True))


def _rewrite(pool: ir.Node, linear: Linear, graph: ir.Graph) -> None:
    conv = linear.node
    image, pooled, result = pool.inputs[0], pool.outputs[0], conv.outputs[0]
    conv.replace_input_with(0, image)
    result.replace_all_uses_with(pooled, replace_graph_outputs=True)
    pool.replace_input_with(0, result)
    graph.remove(pool)
    graph.insert_after(conv, pool)
    sizes = image.shape if image is not None else None
    pooled.shape, pooled.type = result.shape, result.type
    result.shape = ir.Shape([sizes[0], linear.channels_out, *sizes[2:]]) if sizes is not None else None
    pooled.name, result.name = result.name, pooled.name
    if linear.bias.any() and not _passes(pool):
        _add_behind(pool, linear, graph)


def _add_behind(pool: ir.Node, linear: Linear, graph: ir.Graph) -> None:
    """Take the bias off the convolution and add it to the pooled image."""
    conv, pooled, names = linear.node, pool.outputs[0], names_in_use(graph)
    old = conv.inputs[2]
    conv.resize_inputs(2)
    discard_unused(graph, old)
    shifted = ir.Value(name=pooled.name, shape=pooled.shape, type=pooled.type)
    pooled.replace_all_uses_with(shifted, replace_graph_outputs=True)
    pooled.name = unused(f"{pooled.name}_unbiased", names)
    bias = linear.bias.astype(linear.weight.dtype).reshape(1, -1, *[1] * (linear.rank - 2))
    name = unused(f"{node_name(conv)}/Add", names)
    scopes = conv.metadata_props.get(NAME_SCOPES)
    add = ir.node(
        "Add",
        [pooled, new_initializer(graph, f"{node_name(conv)}.bias", bias)],
        outputs=[shifted],
        name=name,
        metadata_props={NAME_SCOPES: scopes} if scopes else {},
    )
    graph.insert_after(pool, add)


exchange_pool = Fusion("exchange_pool", "a 1x1 convolution before the AveragePool in front of it", ("Conv",), _attempt)
