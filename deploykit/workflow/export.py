"""A network's optimized float32 graph: traced from the module, or read from an `.onnx` file, and kept in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.backends.protocol import ModuleSource, TypedGraph
from deploykit.data.preparation import require_inputs_of
from deploykit.spec import Fusions, ModelSpec, Precision, Signature, WeightsOrigin
from deploykit.store import Writer
from deploykit.store.key import cache_key
from deploykit.workflow.facts import OptimizedFacts
from deploykit.workflow.networks import TRACING, digests_of_onnx, live_graph, resolve
from deploykit.workflow.workspace import Workspace

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class Exported(Signature):
    """The optimized float32 graph of one network. `module` is None for an `.onnx` file.

    `model` has the classes and channels that a checkpoint told.
    """

    path: Path
    digest: str
    module: ModuleSource | None
    facts: OptimizedFacts
    hit: bool
    weights: WeightsOrigin = WeightsOrigin(kind="own")  # noqa: RUF009 - a frozen value

    @property
    def random_weights(self) -> bool:
        return self.weights.random

    @property
    def quantized(self) -> bool:
        """Whether the file came with its own Q/DQ pairs, or with operators of integers."""
        return "int8" in self.facts.computes_in

    def as_typed(self, precision: Precision) -> TypedGraph:
        """This graph as the typed graph of FP32, and as a stand-in for one that is still to be made."""
        return TypedGraph(self.path, self.digest, precision, None, self.inputs, self.outputs)


def export(workspace: Workspace, model: ModelSpec, fusions: Fusions = Fusions()) -> Exported:  # noqa: B008 - frozen
    """The optimized graph. Raises UsageError, CheckpointMismatch, UntrustedArtifact, ExportFailed."""
    fusions.require_decided()
    parts = {**identity(workspace, model), "fusions": fusions}
    module, weights = _origin(workspace, model, parts)

    def make(writer: Writer) -> OptimizedFacts:
        from deploykit.workflow import transforms

        known = workspace.knows(_traced_key(model))
        network = traced(workspace, model) if known else _trace(workspace, model)
        with workspace.timed("optimize the graph"):
            content, facts = transforms.optimize(network, fusions)
        writer.write("model.onnx", content)
        traced_in = workspace.seconds.get(TRACING)
        return (
            facts if traced_in is None else replace(facts, seconds=traced_in + workspace.seconds["optimize the graph"])
        )

    request = {"model": model, "fusions": fusions}
    entry, hit = workspace.get_or_make(
        "export", parts, make, request=request, facts=OptimizedFacts, files=("model.onnx",)
    )
    facts = entry.facts_as(OptimizedFacts)
    weights = replace(weights, warnings=(*weights.warnings, *facts.nan))
    exported = Exported(
        model=module.model if module else model,
        path=entry.path("model.onnx"),
        digest=entry.files["model.onnx"].sha256,
        inputs=facts.inputs,
        outputs=facts.outputs,
        preprocess=facts.preprocess,
        normalizes=facts.normalizes,
        module=module,
        weights=weights,
        facts=facts,
        hit=hit,
    )
    require_inputs_of(exported)
    for warning in weights.warnings:
        workspace.warn_once(warning)
    return exported


def identity(workspace: Workspace, model: ModelSpec) -> Mapping[str, Any]:
    """What the raw graph of `model` is made from: part of the key of whatever is made from that graph."""
    if model.is_onnx:
        return {"file": True, "weights": digests_of_onnx(Path(model.name)), "inputs": model.shapes}
    return resolve(workspace, model).identity


def traced(workspace: Workspace, model: ModelSpec) -> ir.Model:
    """The raw graph, as a copy to be changed. It is kept: a network that is tried many ways is traced once."""
    return workspace.once(_traced_key(model), lambda: _trace(workspace, model)).clone()


def _traced_key(model: ModelSpec) -> tuple[str, ModelSpec]:
    return "traced", model


def _trace(workspace: Workspace, model: ModelSpec) -> ir.Model:
    from deploykit.workflow import transforms

    if model.live:
        return live_graph(workspace, model).clone()
    source = Path(model.name) if model.is_onnx else resolve(workspace, model).source
    with workspace.timed(TRACING):
        return transforms.trace(source, model.shapes if model.is_onnx else ())


def _origin(
    workspace: Workspace, model: ModelSpec, parts: Mapping[str, Any]
) -> tuple[ModuleSource | None, WeightsOrigin]:
    """The recipe for the module, which an `.onnx` file has not, and where the weights are from."""
    if model.is_onnx:
        return None, _of_file(model, parts["weights"])
    found = resolve(workspace, model)
    return found.source, found.weights


def _of_file(model: ModelSpec, digests: list[str]) -> WeightsOrigin:
    """The weights of an `.onnx` file, whose digest is that of the file and of the data beside it (`digests`)."""
    digest = digests[0] if len(digests) == 1 else cache_key({"files": digests})
    return WeightsOrigin(kind="own", file=Path(model.name).name, digest=digest)
