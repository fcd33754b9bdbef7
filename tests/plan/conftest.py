"""Plans made by hand: a layer from its tensors, a plan from its layers."""

import pytest

from deploykit.plan.model import EnginePlan, PlanLayer, PlanTensor
from deploykit.spec import Precision


def tensors(*described):
    """`("x", "Half", 64, 8, 8)` is the tensor x of 64x8x8 per image; a last text is its layout."""
    found = []
    for name, dtype, *shape in described:
        layout = shape.pop() if isinstance(shape[-1], str) else "NHWC"
        found.append(PlanTensor(name, (-1, *shape), dtype, layout))
    return tuple(found)


@pytest.fixture
def make_layer():
    def make(name, kind, inputs, outputs, *, nodes=(), constants=(), macs=0):
        return PlanLayer(
            name=name,
            kind=kind,
            inputs=tensors(*inputs),
            constants=constants,
            outputs=tensors(*outputs),
            nodes=tuple(nodes),
            macs=macs,
        )

    return make


@pytest.fixture
def make_plan():
    def make(*layers, precision=Precision.FP16, batch=2, weighted=None, compiler="tensorrt-rtx 1.7.1", **sizes):
        return EnginePlan(
            compiler=compiler,
            source="build log",
            precision=precision,
            batch=batch,
            targets=("sm_89",),
            layers=tuple(layers),
            weighted=weighted or {},
            **sizes,
        )

    return make
