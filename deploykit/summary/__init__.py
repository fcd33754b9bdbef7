"""What a network is made of, layer by layer, from its shapes alone: no weight is read and nothing is computed.

`module.of_module` runs a PyTorch module on the `meta` device, `onnx_graph.of_onnx` walks a file's graph. Both tell
`field` what each operator does to positions and leave the algebra of receptive fields to it. `depthwise_costs` holds
MobileNet's cost law against the counted multiply-accumulates. Each reader imports its framework, so neither is imported
here.
"""

from deploykit.summary.cost_law import depthwise_costs
from deploykit.summary.rows import BlockCost, Convolution, LayerRow, Summary

__all__ = ["BlockCost", "Convolution", "LayerRow", "Summary", "depthwise_costs"]
