"""`--int8-policy plan`: the layers that INT8 takes where TensorRT-RTX's plan is the cheapest for it.

TensorRT-RTX gives an INT8 convolution's requantisation a kernel of its own, so all layers in INT8 can move more bytes
than a part of them beside FP16. Which part is asked of the compiler: each candidate is compiled, and the one with the
lowest roofline (where a GPU is named) or the fewest bytes wins. That is a fact about TensorRT-RTX's plan; full TensorRT
fuses the requantisation and was not measured, and accuracy is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from deploykit.errors import BuildFailed, UnsupportedGraph
from deploykit.host import library_versions
from deploykit.pipeline.artefacts import COMPILERS, Artefacts
from deploykit.pipeline.pricing import PlanPrice, PlanPricing
from deploykit.plan.gpus import Gpu
from deploykit.spec import BuildSpec, Precision, QuantisationPolicy
from deploykit.store import Writer

CANDIDATES = (
    "all",
    "no-pointwise,rest=fp16",
    "no-pointwise,no-first,rest=fp16",
    "no-depthwise,rest=fp16",
    "no-depthwise,no-first,rest=fp16",
    "no-depthwise,no-spatial,rest=fp16",
    "no-depthwise,no-spatial,no-dense,rest=fp16",
)
STAGE = "choose INT8 layers by plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDecision:
    """The policy that won, and what each candidate's plan is, or why it has none."""

    policy: QuantisationPolicy
    objective: str
    figures: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The decision as JSON holds it."""
        return {"policy": str(self.policy), "objective": self.objective, "candidates": dict(self.figures)}


def decided_policy(
    artefacts: Artefacts, spec: BuildSpec, gpu: Gpu | None, *, wanted: bool = False
) -> tuple[BuildSpec, PolicyDecision | None]:
    """`spec` with `plan` replaced by what it stands for; as it is, and None, where nothing is to be decided.

    Only INT8 needs a policy, unless it is `wanted` whatever the precision of `spec`. Raises UnsupportedGraph where no
    candidate can be compiled.
    """
    if not spec.policy.auto or not (wanted or spec.precision is Precision.INT8):
        return spec, None

    def make(_: Writer) -> Mapping[str, Any]:
        with artefacts.timed(STAGE):
            return _chosen(artefacts, spec.with_precision(Precision.INT8), gpu)

    parts = {
        **artefacts.identity(spec.model),
        "fusions": spec.fusions,
        "leave": spec.policy.leave,
        "batch": spec.batch,
        "target": spec.targets[0],
        "gpu": gpu,
        "tf32": spec.tf32,
        "options": spec.options,
        "candidates": CANDIDATES,
        "compilers": library_versions(COMPILERS),
    }
    entry, _ = artefacts.get_or_make("policy", parts, make, request={"spec": spec})
    policy = QuantisationPolicy.parse(entry.facts["chosen"], leave=spec.policy.leave)
    decision = PolicyDecision(policy=policy, objective=entry.facts["objective"], figures=entry.facts["figures"])
    return replace(spec, policy=policy), decision


def _chosen(artefacts: Artefacts, spec: BuildSpec, gpu: Gpu | None) -> dict[str, Any]:
    from deploykit.pipeline.stages import read_graph

    network = read_graph(artefacts.export(spec.model, spec.fusions).path)
    best: tuple[str, PlanPrice] | None = None
    figures: dict[str, str] = {}
    for number, text in enumerate(CANDIDATES):
        artefacts.progress(f"{STAGE}: {text}", number, len(CANDIDATES))
        policy = QuantisationPolicy.parse(text, leave=spec.policy.leave)
        try:
            price = PlanPricing(replace(spec, policy=policy), gpu).price(network)
        except (BuildFailed, UnsupportedGraph) as error:
            figures[text] = str(error)
            continue
        figures[text] = str(price)
        if best is None or price.sign(best[1]) < 0:
            best = text, price
    if best is None:
        raise UnsupportedGraph(f"no layers can be quantised: {figures[CANDIDATES[0]]}", hint="use fp16")
    return {"chosen": best[0], "objective": PlanPricing(spec, gpu).objective, "figures": figures}
