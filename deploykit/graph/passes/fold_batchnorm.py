"""Fold an inference-time BatchNorm into the convolution or matrix product that feeds it.

    y = gamma * (c - mean) / sqrt(var + eps) + beta      with c = W x + b
      = s * c + t                                        s = gamma / sqrt(var + eps), t = beta - s * mean
      = (s W) x + (s b + t)

(Ioffe & Szegedy, arXiv 1502.03167, section 3.1.) Where each operator keeps the output channels that `s` scales, and how
the numbers are computed and stored, is in `linear`. The convolution keeps its name and module scope;
`rewrite.FOLDED_SCOPE` records the BatchNorm whose output it now computes.

Skips a site, with the reason, when

1. the BatchNorm normalizes with the batch's own statistics (training_mode) or its running statistics are read,
2. it lies in the body of an If, Loop or Scan,
3. its input is not made by a Conv, ConvTranspose or Gemm (a MatMul has no bias to take the shift),
4. another node reads the unnormalized output, or it is a graph output,
5. the weight, the bias or a statistic is not a constant, the weight is not a floating-point number, or their channels
   do not match,
6. the result is not finite: var + eps <= 0, or a value leaves the range of the weight's type.
"""

import onnx_ir as ir

from deploykit.graph.algebra.linear import fold_behind, is_linear
from deploykit.graph.rewrite import Fusion, Rewrite, Unmet


def _attempt(norm: ir.Node, graph: ir.Graph) -> Rewrite | Unmet:
    source = norm.inputs[0]
    conv = source.producer() if source is not None else None
    if conv is None:
        return Unmet("its input is not the output of a node")
    if not is_linear(conv):
        return Unmet(f"its input is made by a {conv.op_type}, not by a Conv, ConvTranspose or Gemm")
    return fold_behind(norm, conv, graph, called="unnormalized")


fold_batchnorm = Fusion("fold_batchnorm", "BatchNorm into the convolution before it", ("BatchNormalization",), _attempt)
