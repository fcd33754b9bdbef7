"""Merge a convolution in groups and the 1x1 convolution behind it into one without groups.

    depthwise, then 1x1     W[o, c, t] = P[o, c] D[c, t]
    in general              W[o, (g, c), t] = sum over m of P[o, (g, m)] D[g, m, c, t]
                            b[o] = bP[o] + sum over g, m of P[o, (g, m)] bD[(g, m)]

for groups g of channels c that make the channels m: of a depthwise convolution one channel each, which makes one
channel or, with a multiplier, several. Strides, padding and dilation are the depthwise one's (`composition`), and a
bias is the same at the border, since it is added behind the padding. The 1x1 convolution keeps its name.

The two were split to save products (MobileNet: Howard et al., arXiv 1704.04861, section 3.1; Xception: Chollet, arXiv
1610.02357), k k C of them for one of the dense kernel's k k C O; what is saved in turn is the intermediate image and a
kernel that waits for memory. Hence it is cost-based, and never done unasked.

Skips a site, with the reason, when

1. the 1x1 convolution lies in the body of an If, Loop or Scan,
2. another node reads the intermediate output, or it is a graph output,
3. a weight or bias is not a constant, or a weight is not a floating-point number,
4. they do not fit together: the first makes another number of channels than the second reads,
5. one of them places its padding by auto_pad,
6. the 1x1 convolution pads,
7. the result is not finite in the weight's type.
"""

import onnx_ir as ir

from deploykit.graph.algebra.composition import Kernels, compose, convolution_before, groups, is_pointwise
from deploykit.graph.rewrite import Fusion, Rewrite, Unmet
from deploykit.spec.arrays import Array


def _attempt(pointwise: ir.Node, graph: ir.Graph) -> Rewrite | Unmet | None:
    grouped = convolution_before(pointwise)
    if grouped is None or groups(grouped) == 1 or groups(pointwise) != 1 or not is_pointwise(pointwise):
        return None
    return compose(grouped, pointwise, graph, product=_product)


def _product(pointwise: Kernels, grouped: Kernels) -> Array:
    group, made, read, taps = grouped.shape
    outputs = pointwise.shape[1]
    columns = pointwise.reshape(outputs, group, made).swapaxes(0, 1)
    return (columns @ grouped.reshape(group, made, read * taps)).swapaxes(0, 1)


merge_depthwise_pointwise = Fusion(
    "merge_depthwise_pointwise", "a depthwise convolution and the 1x1 after it into a dense one", ("Conv",), _attempt
)
