"""Values that an engine writes to memory anyway, and the proof that observing them changes nothing.

Marking a value as an output may forbid a fusion or add a copy, and so cure or cause the very fault that is looked for.
So a probe is put only where a kernel's one result is one value of the graph, of the same size and type, and in the
layout that it has there; and the plan with all probes must have the kernels that the plan without them has.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deploykit.plan.model import EnginePlan, PlanLayer, PlanTensor

OBSERVED = {"Float": "float32", "Half": "float16"}  # types that are worth looking at, and numpy's names
LINEAR, CHANNELS_LAST = "(Linear)", "(NHWC)"  # how a log begins to describe the two layouts that an output may have

Kernel = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class GraphValue:
    """A value that a node makes: who reads it, and what it is. Free dimensions are -1."""

    name: str
    maker: str
    readers: frozenset[str]
    dtype: str
    shape: tuple[int, ...]
    public: bool


def candidates(plan: EnginePlan, values: Iterable[GraphValue]) -> dict[str, str]:
    """Values that one kernel writes, in the order of execution, and the layout of each; outputs need no probe."""
    made: dict[str, list[GraphValue]] = {}
    for value in values:
        made.setdefault(value.maker, []).append(value)
    found = {}
    for layer in plan.kernels:
        result = _result(layer, made)
        if result is None or result.public or len(layer.outputs) != 1:
            continue
        (tensor,) = layer.outputs
        layout = next((each for each in (LINEAR, CHANNELS_LAST) if tensor.format.startswith(each)), None)
        if layout and OBSERVED.get(tensor.dtype) == result.dtype and _alike(tensor.shape, result.shape):
            found[result.name] = layout
    return found


def disturbed(plan: EnginePlan, probed: EnginePlan, probes: Mapping[str, str]) -> tuple[bool, set[str]]:
    """Whether the two plans differ in a kernel, and those of `probes` that changed or new kernels write."""
    before, after = (Counter(_kernel(layer) for layer in each.kernels) for each in (plan, probed))
    more = after - before
    guilty = {
        tensor.name
        for layer in probed.kernels
        if more[_kernel(layer)]
        for tensor in layer.outputs
        if tensor.name in probes
    }
    return before != after, guilty


def _result(layer: PlanLayer, made: Mapping[str, list[GraphValue]]) -> GraphValue | None:
    """The one value that the nodes of a kernel hand on."""
    inside = set(layer.nodes)
    handed = [value for node in layer.nodes for value in made.get(node, ()) if value.public or value.readers - inside]
    return handed[0] if len(handed) == 1 else None


def _alike(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(one) == len(other) and all(a == b for a, b in zip(one, other, strict=True) if a >= 0 and b >= 0)


def _kernel(layer: PlanLayer) -> Kernel:
    """What makes a kernel the same one: what it runs, how, and what it reads and writes; names of tensors are made up
    anew by each build."""
    tensors = (tuple(map(_tensor, each)) for each in (layer.inputs, layer.constants, layer.outputs))
    return (layer.kind, layer.nodes, layer.tactic, *tensors)


def _tensor(tensor: PlanTensor) -> tuple[object, ...]:
    return tensor.shape, tensor.dtype, tensor.format
