"""Modules that compute their weights export to the graph of those that just have them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import orthogonal, spectral_norm

from deploykit.export import export_module
from deploykit.graph import optimize
from deploykit.spec import TensorSpec

IMAGES = TensorSpec("images", ("batch", 3, 8, 8), "float32")


class StandardizedByBatchNorm(nn.Conv2d):
    def forward(self, x):
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = functional.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-6).reshape_as(self.weight)
        return self._conv_forward(x, weight, self.bias)


class Masked(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight * (self.weight.abs() > self.weight.abs().mean()), self.bias)


MAKERS = {
    "hooks": lambda *args: nn.utils.weight_norm(nn.Conv2d(*args)),
    "parametrizations": lambda *args: spectral_norm(orthogonal(nn.Conv2d(*args), orthogonal_map="cayley")),
    "batch norm": StandardizedByBatchNorm,
    "mask": Masked,
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", MAKERS)
def test_the_graph_is_that_of_a_plain_network(kind):
    torch.manual_seed(0)
    module = nn.Sequential(MAKERS[kind](3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), MAKERS[kind](4, 4, 3)).eval()
    names = set(module.state_dict())
    model = export_module(module, (IMAGES,))
    assert set(module.state_dict()) == names
    optimize(model)
    assert [node.op_type for node in model.graph] == ["Conv", "Relu", "Conv"]
    assert all(node.inputs[1].is_initializer() for node in model.graph if node.op_type == "Conv")
    from deploykit.ort_session import compute, open_session

    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(images)).numpy()
    got = compute(open_session(model), ["logits"], {"images": images})["logits"]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
