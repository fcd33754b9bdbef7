"""A network that returns more than a tensor: every output is a value of its own, and what the module returned."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from deploykit.export import export_module
from deploykit.graph import check, optimize, serialize, tensor_specs
from deploykit.modules.outputs import flatten_outputs, output_specs_of
from deploykit.spec import TensorSpec

IMAGES = TensorSpec("images", ("batch", 3, 8, 8), "float32")


class Everything(nn.Module):
    """Its input and one map twice, a view of it, None, whole numbers, a constant, and what has no batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
        self.register_buffer("anchors", torch.arange(6.0).reshape(3, 2))

    def forward(self, images: torch.Tensor) -> dict[str, Any]:
        maps = self.body(images)
        scores = self.head(maps)
        return {
            "images": images,
            "maps": [maps, (maps, None, maps[:, :1])],
            "label": scores.argmax(1),
            "mask": scores > 0,
            "anchors": self.anchors,
            "prior": scores.mean((0, 2, 3)),
            "time_major": scores.mean(2).permute(2, 0, 1),
            "again": images,
        }


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Everything().eval()


@pytest.fixture(scope="module")
def exported(network):
    with torch.no_grad():
        specs = output_specs_of([network(torch.zeros(IMAGES.at_batch(n))) for n in (2, 3)], (2, 3), (IMAGES.name,))
    graph = export_module(network, IMAGES, output_names=tuple(spec.name for spec in specs))
    optimize(graph)
    check(graph)
    return graph, specs


def test_the_graph_has_the_names_shapes_and_types_of_the_module(exported):
    graph, specs = exported
    assert tensor_specs(graph)[1] == specs
    outputs = list(graph.graph.outputs)
    assert len({id(value) for value in outputs}) == len(outputs)
    assert not any(value.is_graph_input() or value.is_initializer() for value in outputs)
    assert {part.split(".")[0] for part in graph.graph.initializers if "." in part} == {"body", "head"}


@pytest.mark.parametrize("batch", [1, 3])
def test_the_graph_computes_what_the_module_returns(network, exported, batch):
    graph, specs = exported
    session = onnxruntime.InferenceSession(serialize(graph), providers=["CPUExecutionProvider"])
    images = torch.randn(IMAGES.at_batch(batch), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = flatten_outputs(network(images))
    found = session.run([spec.name for spec in specs], {"images": images.numpy()})
    for spec, ours, theirs in zip(specs, found, wanted, strict=True):
        assert ours.dtype == spec.dtype, spec.name
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6, err_msg=spec.name)


def test_the_module_is_as_it_was(network, exported):
    assert isinstance(network(torch.zeros(IMAGES.at_batch(1))), dict)
