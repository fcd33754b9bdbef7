"""ONNX graphs: read, cleaned, rewritten in place, and written.

`parse` or `deploykit.export.export_module` makes an `onnx_ir.Model`; `optimize` runs CNN_PASSES over it and answers
with a ledger; `serialize` makes the bytes that every backend gets. One pass per file; what passes share is in
`rewrite`.
"""

from deploykit.graph.costs import node_modules, weighted_costs
from deploykit.graph.foreign import notes_of, parse
from deploykit.graph.normalization import own_normalization
from deploykit.graph.passes.cleanup import CLEAN_UP
from deploykit.graph.passes.naming import separate_names
from deploykit.graph.passes.order import CNN_PASSES, FUSIONS, cnn_passes, fusion_passes, optimize
from deploykit.graph.serialize import (
    check,
    computing_types,
    deserialize,
    graph_digest,
    serialize,
    tensor_specs,
    weights_with_nan,
)
from deploykit.graph.sizes import set_input_sizes

__all__ = [
    "CLEAN_UP",
    "CNN_PASSES",
    "FUSIONS",
    "check",
    "cnn_passes",
    "computing_types",
    "deserialize",
    "fusion_passes",
    "graph_digest",
    "node_modules",
    "notes_of",
    "optimize",
    "own_normalization",
    "parse",
    "separate_names",
    "serialize",
    "set_input_sizes",
    "tensor_specs",
    "weighted_costs",
    "weights_with_nan",
]
