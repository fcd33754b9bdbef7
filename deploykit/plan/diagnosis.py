"""One-line diagnoses of a plan, each scoped to the compiler that made it.

A plan knows kernels, types and bytes; it knows no milliseconds. So nothing here says how fast an engine is: bytes are
compared with bytes, and a GPU enters through its roofline alone, named a lower bound. What one compiler does says
nothing of another, so advice names its own, and TensorRT-RTX's says that full TensorRT was not measured.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from deploykit.plan.audit import CAST, COPY, REFORMAT, REQUANTISE, Audit, Conversion, audit
from deploykit.plan.gpus import Gpu
from deploykit.plan.model import EnginePlan
from deploykit.plan.roofline import Roofline, roofline
from deploykit.spec import Precision

WORTH_A_LINE = 0.01  # of all bytes: a smaller part, or difference, is not worth a line
QUOTED = 3  # names in one line
FINE, NOTED, WARNING = "fine", "noted", "warning"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line. `level` is `warning`, `fine`, or `noted` for a fact without judgement; `topic` is one word."""

    level: str
    topic: str
    text: str

    def as_dict(self) -> dict[str, Any]:
        """The line as JSON holds it."""
        return asdict(self)


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
    comparable = [other for other in others if (other.compiler, other.batch) == (plan.compiler, plan.batch)]
    found = [
        *(line for other in comparable for line in _against(plan, other, audited, gpu, tf32)),
        *_precision(plan, audited),
        *_conversions(plan, audited),
        *_streams(plan),
        *_bound(plan, gpu, tf32),
    ]
    return tuple(sorted(found, key=lambda line: line.level != WARNING))


def not_measured(compiler: str) -> str:
    """What a plan of TensorRT-RTX leaves open; "" for other compilers."""
    return " Full TensorRT was not measured." if compiler.startswith("tensorrt-rtx") else ""


def _against(plan: EnginePlan, other: EnginePlan, audited: Audit, gpu: Gpu | None, tf32: bool) -> Iterator[Diagnosis]:
    """Bytes and kernels beside those of the plan in the next wider precision, the one that it must improve on."""
    mine, theirs = plan.precision, other.precision
    if (mine, theirs) not in {(Precision.INT8, Precision.FP16), (Precision.FP16, Precision.FP32)}:
        return
    ratio = plan.bytes_moved / other.bytes_moved
    kernels = f"{len(plan.kernels)} kernels against {len(other.kernels)}"
    said = f"on {plan.compiler} {_caps(mine)} moves {ratio:.2f} times the bytes of {_caps(theirs)} ({kernels})"
    if ratio <= 1 - WORTH_A_LINE:
        yield Diagnosis(FINE, "bytes", f"{said}.{not_measured(plan.compiler)}")
        return
    requantising = audited.of_kind(REQUANTISE)
    why = f": requantisation is a kernel of its own ({_cost(requantising)})" if requantising else ""
    yield Diagnosis(WARNING, "bytes", f"{said}{why}; {_advice(plan, other, gpu, tf32)}.{not_measured(plan.compiler)}")


def _advice(plan: EnginePlan, other: EnginePlan, gpu: Gpu | None, tf32: bool) -> str:
    theirs = _caps(other.precision)
    if gpu is None:
        return f"prefer {theirs} there, unless arithmetic rather than memory holds it up"
    bounds = [roofline(each, gpu, tf32=tf32) for each in (plan, other)]
    if not all(bound.has_macs for bound in bounds):
        return f"prefer {theirs} there, unless arithmetic rather than memory holds it up"
    here, there = (bound.total_us for bound in bounds)
    figures = f"the lower bound on {gpu.name} is {_us(here)} against {_us(there)}"
    if here > there:
        return f"{figures}: prefer {theirs} there"
    return f"yet {figures}, for its arithmetic peak is higher: measure both there"


def _precision(plan: EnginePlan, audited: Audit) -> Iterator[Diagnosis]:
    if not audited.nodes:
        yield Diagnosis(NOTED, "precision", "the graph has no convolution or matrix product")
        return
    claimed = len(audited.nodes) - len(audited.unclaimed)
    if audited.other_type:
        listed = [f"{node.name} in {node.dtype} ({node.reason})" for node in audited.other_type]
        yield Diagnosis(
            WARNING,
            "precision",
            f"{len(listed)} of {claimed} convolutions and matrix products do not compute in {audited.wanted}: "
            f"{_some(listed)}",
        )
    elif claimed:
        share = audited.bytes_by_type.get(audited.wanted, 0) / plan.bytes_moved if plan.bytes_moved else 0.0
        text = (
            f"{'all' if claimed > 1 else 'the'} {claimed} convolutions and matrix products compute in "
            f"{audited.wanted}; {share:.0%} of the bytes are in it"
        )
        yield Diagnosis(FINE, "precision", text)
    if audited.unclaimed:
        listed = [f"{node.name} ({node.reason})" for node in audited.unclaimed]
        yield Diagnosis(NOTED, "unclaimed", f"no kernel claims {len(listed)} weighted nodes: {_some(listed)}")


def _conversions(plan: EnginePlan, audited: Audit) -> Iterator[Diagnosis]:
    on = f"on {plan.compiler}"
    requantising = audited.of_kind(REQUANTISE)
    if _worth(requantising, plan):
        text = (
            f"{on} {_cost(requantising)} of requantisation, {_share(requantising, plan)} of the bytes; "
            f"ReLU and residual additions ride in them.{not_measured(plan.compiler)}"
        )
        yield Diagnosis(WARNING, "requantise", text)
    padding = [each for each in requantising if each.widening >= 2]
    if padding:
        most = max(each.widening for each in padding)
        text = f"{on} {len(padding)} of them pad channels up to {most:.0f}-fold, for convolutions of very small groups"
        yield Diagnosis(WARNING, "padding", text)
    casts = audited.of_kind(CAST)
    if _worth(casts, plan):
        where = " at the network's border" if all(_at_border(plan, each) for each in casts) else ""
        text = f"{on} {_cost(casts)} cast{where}, {_share(casts, plan)} of the bytes"
        yield Diagnosis(NOTED, "cast", text)
    moves = audited.of_kind(REFORMAT, COPY)
    if _worth(moves, plan):
        text = f"{on} {_cost(moves)} only change layout or copy, {_share(moves, plan)} of the bytes"
        yield Diagnosis(NOTED, "layout", text)


def _streams(plan: EnginePlan) -> Iterator[Diagnosis]:
    waits = sum(layer.kind in ("signal", "wait") for layer in plan.layers)
    if waits:
        text = f"{waits} signals and waits between streams run branches beside each other; max_aux_streams = 0 has none"
        yield Diagnosis(NOTED, "streams", text)


def _bound(plan: EnginePlan, gpu: Gpu | None, tf32: bool) -> Iterator[Diagnosis]:
    if gpu is None:
        return
    bound = roofline(plan, gpu, tf32=tf32)
    if not bound.has_macs:
        text = f"{gpu.name}: {_us(bound.total_us)} from bytes alone, a lower bound, for the plan's MACs are not known"
        yield Diagnosis(NOTED, "roofline", text)
        return
    share = bound.memory_share if bound.binds == "memory" else 1 - bound.memory_share
    text = (
        f"{bound.binds} bound on {gpu.name}: it holds {share:.0%} of the lower bound of {_us(bound.total_us)} "
        f"for batch {plan.batch} (roofline, nothing measured{_doubts(bound)})"
    )
    yield Diagnosis(NOTED, "roofline", text)


def _doubts(bound: Roofline) -> str:
    doubts = []
    if bound.gpu.approximate:
        doubts.append(f"approximate {', '.join(bound.gpu.approximate)}")
    if bound.without_peak:
        doubts.append(f"no peak known for {len(bound.without_peak)} products")
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
    return f"{len(conversions)} kernel{'s' if len(conversions) > 1 else ''}, {moved:.1f} MB"


def _share(conversions: Sequence[Conversion], plan: EnginePlan) -> str:
    return f"{sum(each.bytes_moved for each in conversions) / plan.bytes_moved:.0%}"


def _some(listed: Sequence[str]) -> str:
    more = f" and {len(listed) - QUOTED} more" if len(listed) > QUOTED else ""
    return f"{', '.join(listed[:QUOTED])}{more}"


def _us(microseconds: float) -> str:
    return f"{microseconds:.0f} us" if microseconds >= 100 else f"{microseconds:.2g} us"


def _caps(precision: Precision) -> str:
    return str(precision).upper()
