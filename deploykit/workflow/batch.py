"""The batch of a request, where nobody asked for one: a network may take one only."""

from __future__ import annotations

from dataclasses import replace

from deploykit.spec import BatchRange, BuildSpec, ModelSpec, TensorSpec, fixed_batch_of
from deploykit.store import Writer
from deploykit.workflow.export import identity, traced
from deploykit.workflow.facts import GraphFacts
from deploykit.workflow.workspace import Workspace
from deploykit.zoo import registry


def with_batch(workspace: Workspace, spec: BuildSpec) -> BuildSpec:
    """`spec` with a batch that was asked for, or that the network fixes, or the usual one."""
    batch = spec.batch
    if batch.asked:
        return spec
    fixed = fixed_batch_of(inputs_of(workspace, spec.model))
    return replace(spec, batch=replace(batch, asked=True) if fixed is None else BatchRange(fixed, fixed, fixed))


def inputs_of(workspace: Workspace, model: ModelSpec) -> tuple[TensorSpec, ...]:
    """What the network takes, before it is exported: a file is read once for it. Raises as `export`."""
    if not model.is_onnx:
        return registry.input_specs(model)

    def make(_: Writer) -> GraphFacts:
        from deploykit import graph

        inputs, outputs = graph.tensor_specs(traced(workspace, model))
        return GraphFacts(inputs=inputs, outputs=outputs)

    parts = identity(workspace, model)
    entry, _ = workspace.get_or_make("signature", parts, make, request={"model": model}, facts=GraphFacts)
    return entry.facts_as(GraphFacts).inputs
