"""Anybody's forward: what it does wrong is said in one line, and never judged as if it were right."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from deploykit.errors import ExecutionFailed
from deploykit.parity import distance, module_reference

X = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
FEEDS = [{"x": X}]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        return self.layer(x)


class CastsAtTheEnd(Net):
    def forward(self, x):
        return self.layer(x).float()


class CastsInside(Net):
    def forward(self, x):
        return self.layer(x.float().to(x.dtype))


class CastsInFront(Net):
    def forward(self, x):
        return self.layer(x.float())


class MakesTensors(Net):
    def forward(self, x):
        return self.layer(x) + torch.full((3,), 0.1)


class KeepsAPlainTensor(Net):
    def __init__(self):
        super().__init__()
        self.plain = torch.eye(3)

    def forward(self, x):
        return self.layer(x) @ self.plain


def graph():
    module = Net()
    text = """<ir_version: 10, opset_import: ["" : 20]> g (float[N, 4] x) => (float[N, 3] y)
        <float[3, 4] w, float[3] b> { y = Gemm <transB = 1> (x, w, b) }"""
    proto = onnx.parser.parse_model(text)
    for name, tensor in (("w", module.layer.weight), ("b", module.layer.bias)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(tensor.detach().numpy(), name))
    return ir.from_proto(proto)


@pytest.mark.parametrize("kind", [CastsAtTheEnd, CastsInside, CastsInFront, MakesTensors, KeepsAPlainTensor])
def test_a_module_that_leaves_float64_is_referred_to_its_graph(kind):
    module = kind().eval()
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = module_reference(module, FEEDS, ("y",), exported=graph)
    assert found.source.startswith("exported graph in float64: the module does not follow .double(), ")
    wide = X.astype(np.float64) @ weights["layer.weight"].double().numpy().T + weights["layer.bias"].double().numpy()
    np.testing.assert_allclose(found.exact["y"], wide, rtol=1e-14)
    after = module.state_dict()
    assert all(after[name].dtype == tensor.dtype and after[name].equal(tensor) for name, tensor in weights.items())
    with pytest.raises(ExecutionFailed, match="does not compute in float64"):
        module_reference(kind().eval(), FEEDS, ("y",))


def test_a_module_that_follows_is_its_own_reference():
    module = Net().eval()
    found = module_reference(module, FEEDS, ("y",), exported=graph)
    assert found.source == "PyTorch module in float64"
    assert found.exact["y"].dtype == np.float64
    assert 0 < distance(found.float32["y"], found.exact["y"]).relative_l2 < 1e-6
    assert module.layer.weight.dtype == module.seen.dtype == torch.float32


class Draws(Net):
    def forward(self, x):
        return nn.functional.dropout(self.layer(x), 0.5, training=True)


class Remembers(Net):
    def forward(self, x):
        self.seen += 1
        return self.layer(x) * self.seen


class Raises(Net):
    def forward(self, x):
        raise KeyError("scale")


class Shrinks(Net):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x), *([x] if self.calls == 1 else [])


@pytest.mark.parametrize(
    ("kind", "names", "said"),
    [
        (Draws, ("y",), "two runs of the module on the same inputs differ by .*: it draws random numbers"),
        (Remembers, ("y",), "forward changes its own buffer seen, so no comparison is meaningful"),
        (Raises, ("y",), "^forward raises KeyError: "),
        (Shrinks, ("y", "z"), "forward returns 1 outputs here, the exported graph has 2"),
    ],
)
def test_what_has_no_reference_is_one_line(kind, names, said):
    with pytest.raises(ExecutionFailed, match=said) as caught:
        module_reference(kind().eval(), FEEDS, names, exported=graph)
    assert "\n" not in str(caught.value)


class OverTheBatch(Net):
    def forward(self, x):
        return self.layer(x - x.mean(dim=0))


def test_the_reference_runs_in_the_batches_of_the_row():
    module = OverTheBatch().eval()
    feed = np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)
    together = module_reference(module, [{"x": feed}], ("y",)).exact["y"]
    apart = module_reference(module, [{"x": feed[:2]}, {"x": feed[2:]}], ("y",)).exact["y"]
    assert distance(apart, together).relative_l2 > 0.1
    np.testing.assert_allclose(apart[2:], module_reference(module, [{"x": feed[2:]}], ("y",)).exact["y"])


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 6, (3, 5), (2, 1), (1, 3), (2, 1), groups=6),
        nn.Conv2d(6, 6, 3, padding="same", bias=False, groups=6),
        nn.Conv2d(6, 12, 3, groups=6),
        nn.Conv2d(6, 6, 3, groups=3),
        nn.ConvTranspose2d(6, 6, 3, groups=6),
    ],
    ids=str,
)
def test_a_convolution_of_single_channels_is_what_pytorch_computes(layer):
    images = np.random.default_rng(0).normal(size=(2, 6, 9, 11)).astype(np.float32)
    found = module_reference(layer, [{"x": images}], ["y"])
    assert found.source == "PyTorch module in float64"
    with torch.no_grad():
        wanted = layer.double()(torch.from_numpy(images).double()).numpy()
    np.testing.assert_allclose(found.exact["y"], wanted, rtol=1e-12, atol=1e-12)
