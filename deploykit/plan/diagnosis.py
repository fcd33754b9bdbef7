"""One-line diagnoses of a plan, each scoped to the compiler that made it.

A plan knows kernels, types and bytes; it knows no milliseconds. So nothing here says how fast an engine is: bytes are
compared with bytes, and a GPU enters through its roofline alone, named a lower bound. What one compiler does says
nothing of another, so advice names its own, and TensorRT-RTX's says that full TensorRT was not measured.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from deploykit.plan.audit import CAST, COPY, REFORMAT, REQUANTISE, Audit, Conversion, audit
from deploykit.plan.gpus import Gpu
from deploykit.plan.model import EnginePlan
from deploykit.plan.roofline import ASSUMES, MEMORY, Roofline, roofline
from deploykit.spec import Precision

WORTH_A_LINE = 0.01  # of all bytes: a smaller part, or difference, is not worth a line
QUOTED = 3  # names in one line
WIDER = {  # what a precision is compared with, the first of them that there is
    Precision.INT8: (Precision.FP16, Precision.FP32),
    Precision.FP16: (Precision.FP32,),
    Precision.FP32: (),
}
OK, NOTE, WARNING = "ok", "note", "warning"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line. `level` is `warning`, `ok`, or `note` for a fact without judgement; `topic` is one word."""

    level: str
    topic: str
    text: str


def diagnose(
    plan: EnginePlan,
    *,
    others: Sequence[EnginePlan] = (),
    gpu: Gpu | None = None,
    tf32: bool = False,
    reasons: Mapping[str, str] | None = None,
) -> tuple[Diagnosis, ...]:
    """What is to be said of `plan`, the most important first.

    `others` are plans of the same network in other precisions; those of another compiler or batch are not compared.
    `gpu` adds its roofline, `reasons` (the typing report's, by node) explain nodes in another type.
    """
    audited = audit(plan, reasons)
    beside = [other for other in others if (other.compiler, other.batch) == (plan.compiler, plan.batch)]
    reference = next((other for wider in WIDER[plan.precision] for other in beside if other.precision == wider), None)
    found = [
        *([_against(plan, reference, audited, gpu, tf32)] if reference else []),
        *_precision(plan, audited),
        *([] if reference else _requantization(plan, audited)),
        *_conversions(plan, audited),
        *_streams(plan),
        *_bound(plan, gpu, tf32),
    ]
    return tuple(sorted(found, key=lambda line: line.level != WARNING))


def not_measured(compiler: str) -> str:
    """What a plan of TensorRT-RTX leaves open; "" for other compilers."""
    return " Full TensorRT was not measured." if compiler.startswith("tensorrt-rtx") else ""


def _against(plan: EnginePlan, other: EnginePlan, audited: Audit, gpu: Gpu | None, tf32: bool) -> Diagnosis:
    """Bytes and kernels beside those of `other`, the plan in a wider type that this one has to improve on."""
    ratio = plan.bytes_moved / other.bytes_moved
    text = (
        f"on {plan.compiler} {_caps(plan)} moves {ratio:.2f} times the bytes of {_caps(other)} "
        f"(kernels: {len(plan.kernels)} against {len(other.kernels)})"
    )
    if ratio <= 1 - WORTH_A_LINE:
        level = OK if len(plan.kernels) <= len(other.kernels) else NOTE
        return Diagnosis(level, "bytes", f"{text}.{not_measured(plan.compiler)}")
    if requantizing := audited.of_kind(REQUANTISE):
        cost = f"{_cost(requantizing)}, {_share(requantizing, plan)} of its bytes"
        text += f": requantization is a kernel of its own ({cost})"
    return Diagnosis(WARNING, "bytes", f"{text}; {_advice(plan, other, gpu, tf32)}.{not_measured(plan.compiler)}")


def _advice(plan: EnginePlan, other: EnginePlan, gpu: Gpu | None, tf32: bool) -> str:
    bounds = [] if gpu is None else [roofline(each, gpu, tf32=tf32) for each in (plan, other)]
    if gpu is None or not all(bound.has_macs for bound in bounds):
        return f"prefer {_caps(other)} there, unless the network is compute bound"
    here, there = (bound.total_us for bound in bounds)
    figures = f"the lower bound on {gpu.name} is {_us(here)} against {_us(there)}"
    if here > there:
        return f"prefer {_caps(other)} there ({figures})"
    return f"yet {figures}, as its arithmetic peak is higher: measure both there"


def _precision(plan: EnginePlan, audited: Audit) -> Iterator[Diagnosis]:
    if not audited.nodes:
        yield Diagnosis(NOTE, "precision", "the graph has no layer with weights")
        return
    claimed = len(audited.nodes) - len(audited.unclaimed)
    if audited.other_type:
        listed = [f"{node.name} in {node.dtype} ({node.reason})" for node in audited.other_type]
        yield Diagnosis(
            WARNING,
            "precision",
            f"{len(listed)} of {claimed} layers with weights do not compute in {audited.wanted}: {_some(listed)}",
        )
    elif claimed:
        share = audited.bytes_by_type.get(audited.wanted, 0) / plan.bytes_moved
        text = f"every layer with weights ({claimed}) computes in {audited.wanted}"
        yield Diagnosis(OK, "precision", f"{text}; {share:.0%} of the bytes are of that type")
    if audited.unclaimed:
        listed = [f"{node.name} ({node.reason})" for node in audited.unclaimed]
        yield Diagnosis(
            NOTE, "unclaimed", f"{len(listed)} layers with weights are not matched to a kernel: {_some(listed)}"
        )


def _requantization(plan: EnginePlan, audited: Audit) -> Iterator[Diagnosis]:
    """What `_against` says of it too, for a plan that stands alone."""
    if _worth(requantizing := audited.of_kind(REQUANTISE), plan):
        text = f"on {plan.compiler} {_cost(requantizing)} for requantization, {_share(requantizing, plan)} of the bytes"
        yield Diagnosis(WARNING, "requantize", f"{text}, including operators fused into them, such as ReLU")


def _conversions(plan: EnginePlan, audited: Audit) -> Iterator[Diagnosis]:
    on = f"on {plan.compiler}"
    if padding := [each for each in audited.of_kind(REQUANTISE) if each.widening >= 2]:
        most = max(each.widening for each in padding)
        text = (
            f"{on} {_cost(padding)} for padding channels up to {most:.0f}-fold, because the next convolution has few "
            "channels per group"
        )
        yield Diagnosis(WARNING, "padding", text)
    if _worth(casts := audited.of_kind(CAST), plan):
        where = " at the network's border" if all(_at_border(plan, each) for each in casts) else ""
        yield Diagnosis(NOTE, "cast", f"{on} {_cost(casts)} for casts{where}, {_share(casts, plan)} of the bytes")
    if _worth(moves := audited.of_kind(REFORMAT, COPY), plan):
        text = f"{on} {_cost(moves)} for layout changes and copies alone, {_share(moves, plan)} of the bytes"
        yield Diagnosis(NOTE, "layout", text)


def _streams(plan: EnginePlan) -> Iterator[Diagnosis]:
    waits = sum(layer.kind in ("signal", "wait") for layer in plan.layers)
    if waits:
        text = f"on {plan.compiler} {waits} signals and waits keep branches on several streams in step"
        yield Diagnosis(NOTE, "streams", text)


def _bound(plan: EnginePlan, gpu: Gpu | None, tf32: bool) -> Iterator[Diagnosis]:
    if gpu is None:
        return
    bound = roofline(plan, gpu, tf32=tf32)
    if not bound.has_macs:
        text = f"{gpu.name}: {_us(bound.total_us)} from bytes alone, a lower bound, for the plan's MACs are not known"
        yield Diagnosis(NOTE, "roofline", text)
        return
    share = bound.memory_share if bound.binds == MEMORY else 1 - bound.memory_share
    text = (
        f"{bound.binds} bound on {gpu.name}: {bound.binds} bound kernels make up {share:.0%} of the lower bound of "
        f"{_us(bound.total_us)} for batch {plan.batch} ({ASSUMES}{_doubts(bound)})"
    )
    yield Diagnosis(NOTE, "roofline", text)


def _doubts(bound: Roofline) -> str:
    doubts = []
    if bound.gpu.approximate:
        doubts.append(f"approximate {', '.join(bound.gpu.approximate)}")
    if bound.without_peak:
        doubts.append(f"no peak rate known for {len(bound.without_peak)} convolutions or matrix products")
    return "".join(f"; {doubt}" for doubt in doubts)


def _at_border(plan: EnginePlan, conversion: Conversion) -> bool:
    """Whether the kernel reads the network's input or writes its output: no other kernel is on that side."""
    layer = next(layer for layer in plan.layers if layer.name == conversion.layer)
    written = {tensor.name for other in plan.layers for tensor in other.outputs}
    read = {tensor.name for other in plan.layers for tensor in other.inputs}
    return any(tensor.name not in written for tensor in layer.inputs) or any(
        tensor.name not in read for tensor in layer.outputs
    )


def _worth(conversions: Sequence[Conversion], plan: EnginePlan) -> bool:
    return sum(each.bytes_moved for each in conversions) > WORTH_A_LINE * plan.bytes_moved


def _cost(conversions: Sequence[Conversion]) -> str:
    moved = sum(each.bytes_moved for each in conversions) / 1e6
    return f"{len(conversions)} kernel{'s' if len(conversions) > 1 else ''} of {moved:.1f} MB"


def _share(conversions: Sequence[Conversion], plan: EnginePlan) -> str:
    return f"{sum(each.bytes_moved for each in conversions) / plan.bytes_moved:.0%}"


def _some(listed: Sequence[str]) -> str:
    more = f" and {len(listed) - QUOTED} more" if len(listed) > QUOTED else ""
    return f"{', '.join(listed[:QUOTED])}{more}"


def _us(microseconds: float) -> str:
    return f"{microseconds:.0f} us" if microseconds >= 100 else f"{microseconds:.2g} us"


def _caps(plan: EnginePlan) -> str:
    return plan.precision.upper()
