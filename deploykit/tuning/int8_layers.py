"""`--int8-policy plan`: the layers that INT8 takes where TensorRT-RTX's plan is the cheapest for it.

TensorRT-RTX gives an INT8 convolution's requantization a kernel of its own, so all layers in INT8 can move more bytes
than a part of them beside FP16. Which part is asked of the compiler: each candidate is compiled, and of those within
1 % of the lowest roofline (where a GPU is named) or of the fewest bytes the one with the fewest kernels wins: neither
figure holds what it costs to start a kernel. That is a fact about TensorRT-RTX's plan; full TensorRT fuses the
requantization and was not measured, and accuracy is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploykit.errors import BuildFailed, UnsupportedGraph
from deploykit.host import library_versions
from deploykit.plan.gpus import Gpu
from deploykit.spec import BuildSpec, Precision, QuantizationPolicy
from deploykit.store import Writer
from deploykit.tuning.cost import REFUSED, PlanPrice, PlanPricing
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDecision:
    """The policy that won, and what each candidate's plan is, or why it has none; `fp16` is that of no INT8 at all."""

    policy: QuantizationPolicy
    objective: str
    figures: Mapping[str, str]
    fp16: str

    def as_dict(self) -> dict[str, Any]:
        """The decision as JSON holds it."""
        return {
            "policy": str(self.policy),
            "objective": self.objective,
            "candidates": dict(self.figures),
            "fp16": self.fp16,
        }


def decided_policy(
    workspace: Workspace, spec: BuildSpec, gpu: Gpu | None, *, wanted: bool = False
) -> tuple[BuildSpec, PolicyDecision | None]:
    """`spec` with `plan` replaced by what it stands for; as it is, and None, where nothing is to be decided.

    Only INT8 needs a policy, unless it is `wanted` whatever the precision of `spec`. Raises UnsupportedGraph where no
    candidate can be compiled.
    """
    if not spec.policy.auto or not (wanted or spec.precision is Precision.INT8):
        return spec, None

    def make(_: Writer) -> Mapping[str, Any]:
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
    entry, _ = workspace.get_or_make("policy", parts, make, request={"spec": spec})
    facts = entry.facts
    policy = QuantizationPolicy.parse(facts["chosen"], exclude=spec.policy.exclude)
    return replace(spec, policy=policy), PolicyDecision(
        policy=policy, objective=facts["objective"], figures=facts["figures"], fp16=facts["fp16"]
    )


def _chosen(workspace: Workspace, spec: BuildSpec, gpu: Gpu | None) -> dict[str, Any]:
    from deploykit.workflow.transforms import read_graph

    network = read_graph(export(workspace, spec.model, spec.fusions).path)
    prices: dict[str, PlanPrice] = {}
    figures: dict[str, str] = {}
    for number, text in enumerate(CANDIDATES):
        workspace.progress(f"{STAGE}: {text}", number, len(CANDIDATES))
        policy = QuantizationPolicy.parse(text, exclude=spec.policy.exclude)
        try:
            prices[text] = PlanPricing(replace(spec, policy=policy), gpu).price(network)
        except (BuildFailed, UnsupportedGraph) as error:
            figures[text] = str(error)
        else:
            figures[text] = str(prices[text])
    if not prices:
        raise UnsupportedGraph(f"no layers can be quantized: {figures[CANDIDATES[0]]}", hint="use fp16")
    best = cheapest(prices)
    objective = f"{PlanPricing(spec, gpu).objective}; of plans within {100 * NEAR:g} % the fewest kernels"
    half = _against_half(network, spec, gpu, prices[best])
    return {"chosen": best, "objective": objective, "figures": figures, "fp16": half}


def _against_half(network: ir.Model, spec: BuildSpec, gpu: Gpu | None, best: PlanPrice) -> str:
    """The plan of FP16 alone, and whether it beats the best with INT8."""
    try:
        price = PlanPricing(spec.with_precision(Precision.FP16), gpu).price(network)
    except REFUSED as error:
        return str(error)
    beside = {-1: "cheaper", 0: "as cheap", 1: "dearer"}
    return f"{price}, {beside[price.sign(best)]}"


def cheapest(prices: Mapping[str, PlanPrice]) -> str:
    """Which of them has the fewest kernels, among those that are near the least in bytes, or in the roofline."""
    least = min(price.leading for price in prices.values())
    near = {text: price for text, price in prices.items() if price.leading <= (1 + NEAR) * least}
    return min(near, key=lambda text: (near[text].kernels, near[text].leading))
