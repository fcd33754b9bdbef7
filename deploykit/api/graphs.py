"""From a network to its optimized float32 ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deploykit.api.checked import checked
from deploykit.api.choices import Batch, Targets, batch_range, build_spec, fusions_of, precision_of, targets_of
from deploykit.api.models import Model, Network, model_of
from deploykit.api.modules import Example
from deploykit.api.workspace import StorePath, open_workspace, path_of
from deploykit.errors import GateFailed, UsageError
from deploykit.io.files import copy_artifact
from deploykit.parity import ParityResult
from deploykit.results.build import ExportResult
from deploykit.spec import Fusions, Precision, Progress, TensorSpec, WeightsOrigin
from deploykit.spec.reports import PassRecord
from deploykit.workflow.export import Exported

if TYPE_CHECKING:
    from deploykit.workflow.workspace import Workspace

Stem = Literal["float", "uint8"]
IN_DOUBT = "; that was on noise: `verify` judges the network on images"


@dataclass(frozen=True, kw_only=True)
class ExportedGraph:
    """The optimized float32 graph of one network, in the store.

    `fusions` are the rewrites that it got, `check` its comparison with float64, None where that was not asked for.
    `result` is what `deploykit export --json` prints.
    """

    model: Model
    fusions: Fusions
    stem: Stem
    store: Path
    check: ParityResult | None
    result: ExportResult = field(repr=False)
    exported: Exported = field(repr=False)

    @property
    def path(self) -> Path:
        """The ONNX file in the store, weights inside."""
        return self.exported.path

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the file."""
        return self.exported.digest

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and type of each input; a free dimension has a name in place of a size."""
        return self.exported.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and type of each output."""
        return self.exported.outputs

    @property
    def weights(self) -> WeightsOrigin:
        """Where the weights are from: a checkpoint, the network's own, or random."""
        return self.exported.weights

    @property
    def quantized(self) -> bool:
        """Whether the network came quantized, from an `.onnx` file with Q/DQ pairs or operators of integers."""
        return self.exported.quantized

    @property
    def passes(self) -> tuple[PassRecord, ...]:
        """What each graph pass did, in order: the outputs it rewrote, the sites it skipped, nodes before and after."""
        return self.exported.facts.ledger.passes

    def save(self, path: str | PathLike[str]) -> Path:
        """Copy the ONNX file to `path` and return that path. Raises UsageError where it cannot be written."""
        return copy_artifact(self.path, path_of("the path of the graph", path))

    def raise_if_failed(self) -> None:
        """Raise GateFailed unless the check passed; without a check there is nothing to fail."""
        if self.check is not None and self.check.verdict != "pass":
            doubt = IN_DOUBT if self.check.verdict == "inconclusive" and self.check.images else ""
            raise GateFailed(f"{self.check.reason}{doubt}")

    def to_json(self) -> str:
        """What `deploykit export --json` prints."""
        return self.result.to_json()


@checked
def export(
    network: Network,
    *,
    example: Example | None = None,
    fusions: str | Fusions = "safe",
    fusion_seconds: float = 120.0,
    fusion_report: bool = False,
    precision: str | Precision = "fp16",
    batch: Batch = None,
    backend: str = "trt-rtx",
    target: Targets = None,
    gpu_table: str | PathLike[str] | None = None,
    stem: Stem = "float",
    check: bool = True,
    store: StorePath = None,
    progress: Progress | None = None,
) -> ExportedGraph:
    """Export a network to ONNX, cleaned up and with BatchNorm folded.

    A PyTorch network gets opset 20 and, unless its input shapes fix it, a dynamic batch; an `.onnx` file keeps its
    batch, and its opset from 17 on.

    Args:
        network: A name of the zoo, `"package.module:function"`, the path of an `.onnx` file, or a `Model`.
        example: Inputs of an `nn.Module`, as for `from_module`.
        fusions: `"none"`, `"safe"`, `"auto"` (a search by cost), or names of fusions with commas between.
        fusion_seconds: Seconds that the search of `"auto"` may take.
        fusion_report: Also compile the graph with and without each fusion; `result.fusion_report` has the figures.
        precision: Precision of the plans behind `fusion_report` and `"auto"`.
        batch: Images per run, `8` or `(1, 8, 32)`, of the plans behind `fusion_report` and `"auto"`; None is 8.
        backend: What `"auto"` optimizes for: `"trt-rtx"`, `"trt"` or `"ort"`.
        target: Compute capability `"sm_89"` or GPU `"rtx4090"` of those plans; None is the GPU here, else sm_89.
        gpu_table: TOML file with peak rates and bandwidth of the GPUs that `target` names.
        stem: `"uint8"` lets the graph take images as bytes (N, H, W, C) and normalize them itself.
        check: Run the graph in ONNX Runtime and compare it with the network in float64.
        store: Folder of the artifact store; None is $DEPLOYKIT_STORE, else `engines`.
        progress: Called with (stage, steps done, steps in all); None is silent.

    Returns:
        The graph in the store. A failed check is in `check`; `raise_if_failed` raises it.

    Raises:
        UsageError: An option is wrong, or a checkpoint does not fit the network.
        ExportFailed: torch.onnx cannot trace the network.
        UntrustedArtifact: A file is malformed.
    """
    from deploykit.tuning.fusion_report import fusion_report_of
    from deploykit.tuning.fusions import Goal, decided
    from deploykit.workflow.answer import export_result
    from deploykit.workflow.batch import with_batch
    from deploykit.workflow.export import export as exported_graph
    from deploykit.workflow.export import traced

    if stem not in ("float", "uint8"):
        raise UsageError(f"unknown stem {stem!r}", hint="give float or uint8")
    targets, gpu = targets_of(target, gpu_table)
    model = model_of(network, example)
    asked = build_spec(
        model.spec, precision=precision_of(precision), batch=batch_range(batch, 8), targets=targets, fusions=fusions
    )
    workspace = open_workspace(store, progress)
    goal = Goal(spec=with_batch(workspace, asked), backend=backend, gpu=gpu, budget_seconds=fusion_seconds)
    goal, decision = decided(workspace, goal)
    fixed = goal.spec.fusions
    if fusion_report:
        traced(workspace, model.spec)  # which is where both the export and the report start
    plain = exported_graph(workspace, model.spec, fixed)
    priced = fusion_report_of(workspace, plain, goal, decision) if fusion_report else None
    exported, checked = _finished(workspace, plain, fixed, stem=stem, check=check)
    checked_on = "random bytes" if stem == "uint8" else "seeded noise"
    facts = export_result(workspace, exported, checked, checked_on=checked_on, decision=decision, report=priced)
    return ExportedGraph(
        model=model,
        fusions=fixed,
        stem=stem,
        store=workspace.store.root,
        check=checked,
        result=facts,
        exported=exported,
    )


def _finished(
    workspace: Workspace, plain: Exported, fusions: Fusions, *, stem: Stem, check: bool
) -> tuple[Exported, ParityResult | None]:
    """The graph with its stem, and its verdict where one is asked for."""
    from deploykit.workflow.check_export import check_export
    from deploykit.workflow.check_stem import check_stem, with_uint8_stem

    if stem == "float":
        return plain, check_export(workspace, plain) if check else None
    exported = with_uint8_stem(workspace, plain, fusions)
    return exported, check_stem(workspace, plain, exported) if check else None


def network_of(
    source: Network | ExportedGraph, example: Example | None, fusions: str | Fusions | None, store: StorePath
) -> tuple[Model, Fusions, StorePath]:
    """The network, fusions and store of a graph that was exported before, or of a network that was not.

    Raises UsageError for other fusions than those that the graph has, and for a graph that takes bytes.
    """
    if not isinstance(source, ExportedGraph):
        return model_of(source, example), fusions_of("safe" if fusions is None else fusions), store
    if fusions is not None and fusions_of(fusions) != source.fusions:
        raise UsageError(
            f"the graph of {source.model} has its fusions already: {source.fusions}",
            hint="leave fusions out, or give the network in place of the graph",
        )
    if source.stem != "float":
        raise UsageError(
            f"the graph of {source.model} takes bytes, and its network does not",
            hint=f"use it as a file: from_onnx({str(source.path)!r})",
        )
    return model_of(source.model, example), source.fusions, source.store if store is None else store
