"""Fold arithmetic with a constant into the convolution or matrix product that feeds it.

    y = (W x + b) * c   ->   (c W) x + c b          y = (W x + b) + c   ->   W x + (b + c)
    y = (W x + b) / c   ->   (W / c) x + b / c      y = c - (W x + b)   ->   (-W) x + (c - b)

Inception-ResNet multiplies every residual branch by 0.1 to 0.3 before the addition (arXiv 1602.07261, section 3.3). In
FP16 TensorRT-RTX gives such a Mul a kernel of its own: folded, Inception-ResNet v2 loses 57 of 313. The convolution
keeps its name; a chain (a scale, then a shift) is folded link by link, since its links come in graph order.

Skips a site, with the reason, when

1. it lies in the body of an If, Loop or Scan,
2. another node reads the convolution's own output, or it is a graph output,
3. the weight or the bias is not a constant, or the weight is not a floating-point number,
4. the constant is neither a scalar nor one number per output channel, which lie on axis 1: [M, 1, 1] and [1, M, 1, 1]
   behind a convolution, [M] and [1, M] behind a Gemm. [W] lies along the width, [H, W] is spatial, [N, 1, 1, 1] is one
   number per image, and a constant of more axes than the output would add to its shape,
5. a constant is divided by the output, which is not linear in it, or the output by zero,
6. the result is not finite in the weight's type.
"""

import onnx_ir as ir

from deploykit.graph.algebra.affine import ARITHMETIC, data_operand
from deploykit.graph.algebra.linear import fold_behind, is_linear
from deploykit.graph.rewrite import Fusion, Rewrite, Unmet


def _attempt(node: ir.Node, graph: ir.Graph) -> Rewrite | Unmet | None:
    source = data_operand(node)
    conv = source.producer() if source is not None else None
    return fold_behind(node, conv, graph, called="unscaled") if conv is not None and is_linear(conv) else None


fold_scale = Fusion("fold_scale", "scale or shift into the convolution before it", ARITHMETIC, _attempt)
