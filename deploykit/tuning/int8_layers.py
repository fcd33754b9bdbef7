"""`--int8-policy plan`: the layers that INT8 takes where TensorRT-RTX's plan costs least.

TensorRT-RTX gives an INT8 convolution's requantization a kernel of its own, so all layers in INT8 can move more bytes
than a part of them beside FP16. Which part is asked of the compiler: each candidate is compiled, and of those within
1 % of the lowest roofline (where a GPU is named) or of the fewest bytes the one with the fewest kernels wins: neither
figure holds what it costs to start a kernel. That is a fact about TensorRT-RTX's plan; full TensorRT fuses the
requantization and was not measured, and accuracy is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from deploykit.errors import BuildFailed, UnsupportedGraph
from deploykit.host import library_versions
from deploykit.plan.gpus import Gpu
from deploykit.results.choices import Int8LayerDecision
from deploykit.results.costs import PlanCost
from deploykit.spec import BuildSpec, Precision, QuantizationPolicy
from deploykit.store import Writer
from deploykit.tuning.cost import REFUSED, PlanCostModel
from deploykit.workflow.export import export, identity
from deploykit.workflow.workspace import COMPILERS, Workspace

if TYPE_CHECKING:
    import onnx_ir as ir

CANDIDATES = (
    "all",
    "no-pointwise,rest=fp16",
    "no-pointwise,no-first,rest=fp16",
    "no-depthwise,rest=fp16",
    "no-depthwise,no-first,rest=fp16",
    "no-depthwise,no-spatial,rest=fp16",
    "no-depthwise,no-spatial,no-dense,rest=fp16",
)
NEAR = 0.01  # a plan whose leading figure is above the least one by no more than this share costs the same
STAGE = "choose INT8 layers by plan"


def decided_policy(
    workspace: Workspace, spec: BuildSpec, gpu: Gpu | None, *, wanted: bool = False
) -> tuple[BuildSpec, Int8LayerDecision | None]:
    """`spec` with `plan` replaced by what it stands for; as it is, and None, where nothing is to be decided.

    Only INT8 needs a policy, unless it is `wanted` whatever the precision of `spec`. Raises UnsupportedGraph where no
    candidate can be compiled.
    """
    if not spec.policy.auto or not (wanted or spec.precision is Precision.INT8):
        return spec, None

    def make(_: Writer) -> Int8LayerDecision:
        with workspace.timed(STAGE):
            return _chosen(workspace, spec.with_precision(Precision.INT8), gpu)

    parts = {
        **identity(workspace, spec.model),
        "fusions": spec.fusions,
        "leave": spec.policy.exclude,
        "batch": spec.batch,
        "target": spec.targets[0],
        "gpu": gpu,
        "keep_fp32": spec.keep_fp32,
        "tf32": spec.tf32,
        "options": spec.options,
        "candidates": CANDIDATES,
        "near": NEAR,
        "compilers": library_versions(COMPILERS),
    }
    entry, _ = workspace.get_or_make("policy", parts, make, request={"spec": spec}, facts=Int8LayerDecision)
    decision = entry.facts_as(Int8LayerDecision)
    return replace(spec, policy=QuantizationPolicy.parse(decision.policy, exclude=spec.policy.exclude)), decision


def _chosen(workspace: Workspace, spec: BuildSpec, gpu: Gpu | None) -> Int8LayerDecision:
    from deploykit.workflow.transforms import read_graph

    network = read_graph(export(workspace, spec.model, spec.fusions).path)
    costs: dict[str, PlanCost] = {}
    figures: dict[str, str] = {}
    for number, text in enumerate(CANDIDATES):
        workspace.progress(f"{STAGE}: {text}", number, len(CANDIDATES))
        policy = QuantizationPolicy.parse(text, exclude=spec.policy.exclude)
        try:
            costs[text] = PlanCostModel(replace(spec, policy=policy), gpu).cost(network)
        except (BuildFailed, UnsupportedGraph) as error:
            figures[text] = str(error)
        else:
            figures[text] = str(costs[text])
    if not costs:
        raise UnsupportedGraph(f"no layers can be quantized: {figures[CANDIDATES[0]]}", hint="use fp16")
    best = least_cost(costs)
    objective = f"{PlanCostModel(spec, gpu).objective}; of plans within {100 * NEAR:g} % the fewest kernels"
    half = _against_half(network, spec, gpu, costs[best])
    return Int8LayerDecision(policy=best, objective=objective, candidates=figures, fp16=half)


def _against_half(network: ir.Model, spec: BuildSpec, gpu: Gpu | None, best: PlanCost) -> str:
    """The plan of FP16 alone, and whether it beats the best with INT8."""
    try:
        cost = PlanCostModel(spec.with_precision(Precision.FP16), gpu).cost(network)
    except REFUSED as error:
        return str(error)
    beside = {-1: "less than", 0: "the same as", 1: "more than"}
    return f"{cost}, {beside[cost.sign(best)]} the chosen one"


def least_cost(costs: Mapping[str, PlanCost]) -> str:
    """Which of them has the fewest kernels, among those that are near the least in bytes, or in the roofline."""
    least = min(cost.leading for cost in costs.values())
    near = {text: cost for text, cost in costs.items() if cost.leading <= (1 + NEAR) * least}
    return min(near, key=lambda text: (near[text].kernels, near[text].leading))
