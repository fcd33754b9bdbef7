"""The two references agree: the module in float64, and its graph raised to double."""

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch import nn

from deploykit.parity import distance, graph_reference, module_reference

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3, 8, 8] x) => (float[N, 4] y) <float[4, 3, 3, 3] w, float[4] b> {
    c = Conv <pads = [1, 1, 1, 1]> (x, w, b)
    r = Relu (c)
    p = GlobalAveragePool (r)
    y = Flatten (p)
}
"""


def _twins() -> tuple[nn.Module, ir.Model]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    proto = onnx.parser.parse_model(TEXT)
    for name, tensor in (("w", module[0].weight), ("b", module[0].bias)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(tensor.detach().numpy(), name))
    return module, ir.from_proto(proto)


def test_graph_and_module_give_the_same_float64_outputs():
    module, model = _twins()
    feed = np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32)
    graph = graph_reference(model, [{"x": feed[:4]}, {"x": feed[4:]}])
    eager = module_reference(module, feed, ("y",))
    assert graph.exact["y"].dtype == np.float64
    assert eager.exact["y"].dtype == np.float64
    assert distance(graph.exact["y"], eager.exact["y"]).relative_l2 < 1e-14
    for reference in (graph, eager):
        assert 1e-9 < distance(reference.float32["y"], reference.exact["y"]).relative_l2 < 1e-6


def test_chunks_do_not_change_the_reference():
    module, _ = _twins()
    feed = np.random.default_rng(1).normal(size=(9, 3, 8, 8)).astype(np.float32)
    whole = module_reference(module, feed, ("y",)).exact["y"]
    alone = module_reference(module, feed[8:], ("y",)).exact["y"]
    np.testing.assert_allclose(whole[8:], alone, rtol=1e-13)
