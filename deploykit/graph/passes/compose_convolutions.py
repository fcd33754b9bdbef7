"""Compose a 1x1 convolution and the convolution before or behind it into one.

    1x1, then kxk      W[o, c, t] = sum over m of W2[o, m, t] W1[m, c]      b = b2 + sum over m, t of W2[o, m, t] b1[m]
    kxk, then 1x1      W[o, c, t] = sum over m of W2[o, m] W1[m, c, t]      b = b2 + sum over m of W2[o, m] b1[m]

within each group, where both have the same number of groups; strides and dilations multiply, as `composition` works
out. The second keeps its name, and a chain is composed link by link, rounded at each. Networks factorise a convolution
on purpose (a bottleneck of m channels costs fewer products than W), mostly with an activation between; so this is
cost-based, and never done unasked.

Two kernels with several taps each are no pattern: their product is a larger kernel. A convolution in groups before a
1x1 convolution of all channels is what `merge_depthwise_pointwise` looks for.

Skips a site, with the reason, when

1. the second lies in the body of an If, Loop or Scan,
2. the numbers of groups differ,
3. another node reads the intermediate output, or it is a graph output,
4. a weight or bias is not a constant, or a weight is not a floating-point number,
5. they do not fit together: the first makes another number of channels than the second reads,
6. one of them places its padding by auto_pad,
7. the 1x1 convolution pads, alone or around an intermediate image that the first kernel would have filled,
8. the second pads and the first has a bias: the intermediate image is padded with 0, not with the bias,
9. the result is not finite in the weight's type.
"""

import numpy as np
import onnx_ir as ir

from deploykit.graph.algebra.composition import Kernels, compose, convolution_before, groups, is_pointwise
from deploykit.graph.rewrite import Fusion, Rewrite, Unmet
from deploykit.spec.arrays import Array


def _attempt(second: ir.Node, graph: ir.Graph) -> Rewrite | Unmet | None:
    first = convolution_before(second)
    if first is None or not (is_pointwise(first) or is_pointwise(second)):
        return None
    if groups(first) != groups(second):
        dense = is_pointwise(second) and groups(second) == 1
        return None if dense else Unmet(f"the first has {groups(first)} groups, the second {groups(second)}")
    return compose(first, second, graph, product=_product)


def _product(second: Kernels, first: Kernels) -> Array:
    """The product of the matrices of each group and tap; the one tap of one of the two serves all taps of the other."""
    matrices = np.moveaxis(second, 3, 1) @ np.moveaxis(first, 3, 1)
    return np.moveaxis(matrices, 1, 3)


compose_convolutions = Fusion(
    "compose_convolutions", "a 1x1 convolution and its neighbor into one", ("Conv",), _attempt
)
