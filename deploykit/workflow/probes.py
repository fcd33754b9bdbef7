"""Which values of a compiled engine can be observed without changing it: asked of the compiler, which needs no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from deploykit.errors import DeploykitError
from deploykit.plan.model import EnginePlan
from deploykit.plan.probes import GraphValue, candidates, disturbed
from deploykit.results.explanation import Probes
from deploykit.spec import BuildSpec
from deploykit.workflow.engine import Built
from deploykit.workflow.transforms import read_graph
from deploykit.workflow.workspace import Workspace

if TYPE_CHECKING:
    import onnx_ir as ir

ROUNDS = 6  # compilations: each leaves out the probes that changed a kernel
FLAVOUR = "tensorrt-rtx"


def probes_of(workspace: Workspace, spec: BuildSpec, built: Built) -> Probes:
    """The probes of an engine that TensorRT-RTX compiled, all of them at once, proven to be neutral."""
    plan, typed = built.plan, built.typed
    if plan is None or typed is None or not built.engine.flavour.startswith(FLAVOUR):
        return Probes(reason=f"probes are proven with the compiler of {FLAVOUR}, and this is {built.engine.flavour}")
    if any(spec.ranges for spec in typed.graph.inputs):
        return Probes(reason="the compiler logs no plan for free sizes, so nothing is known of what it writes")
    asked = candidates(plan, _values(read_graph(typed.graph.path)))
    if not asked:
        return Probes(kernels=len(plan.kernels), reason="no kernel writes a value of the graph in float as its result")
    try:
        return _proven(workspace, spec, built, plan, asked)
    except DeploykitError as error:
        return Probes(kernels=len(plan.kernels), reason=f"the compiler takes no probes: {error}")


def _proven(workspace: Workspace, spec: BuildSpec, built: Built, plan: EnginePlan, asked: dict[str, str]) -> Probes:
    from deploykit.backends.tensorrt_rtx import plan_with_probes

    assert built.typed is not None  # noqa: S101 - whoever calls has looked
    left = dict(asked)
    for _ in range(ROUNDS):
        with workspace.timed("compile with probes"):
            probed = plan_with_probes(built.typed.graph, spec.engine_settings, left)
        differs, guilty = disturbed(plan, probed, left)
        if not differs:
            return Probes(
                tensors=tuple(left),
                kernels=len(plan.kernels),
                kernels_with_probes=len(probed.kernels),
                neutral=True,
                passed_over=tuple(name for name in asked if name not in left),
            )
        left = {name: layout for name, layout in left.items() if name not in (guilty or {next(reversed(left))})}
        if not left:
            break
    return Probes(kernels=len(plan.kernels), passed_over=tuple(asked), reason="each of them changes a kernel")


def _values(model: ir.Model) -> Iterator[GraphValue]:
    for node in model.graph:
        for value in node.outputs:
            if value.shape is None or value.dtype is None or value.name is None:
                continue
            yield GraphValue(
                name=value.name,
                maker=str(node.name),
                readers=frozenset(str(use.node.name) for use in value.uses()),
                dtype=value.dtype.numpy().name,
                shape=tuple(size if isinstance(size, int) else -1 for size in value.shape),
                public=value.is_graph_output(),
            )
