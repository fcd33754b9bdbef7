"""A compiled plan of four kernels, as `inspect` gives it."""

from deploykit.plan.audit import Audit, AuditedNode
from deploykit.plan.diagnosis import Diagnosis
from deploykit.plan.gpus import Gpu
from deploykit.plan.model import EnginePlan
from deploykit.plan.roofline import LayerTime, Roofline
from deploykit.plan.summary import PlanSummary
from deploykit.results.inspection import ConversionGroup, Inspection, Kernel, KernelGroup
from deploykit.spec import Precision, Target


def layer(name, inputs, outputs, *, kind="correlation", reads="Half", moved=1_000_000, macs=0, us=None):
    return Kernel(
        name=name,
        kind=kind,
        reads=reads,
        writes="Half",
        format="NHWC",
        inputs=inputs,
        outputs=outputs,
        bytes_moved=moved,
        macs=macs,
        nodes=(f"{name}.node",),
        modules=(name,),
        tactic="",
        us=us,
        binds="memory" if us else None,
        intensity=2 * macs / moved if us else None,
    )


LAYERS = (
    layer("cast", ("x",), ("x16",), kind="kgen", reads="Float", us=2.0),
    layer("left", ("x16",), ("joined",), macs=400_000_000, us=4.0),
    layer("right", ("x16",), ("joined",), reads="Int8", moved=500_000, macs=100_000_000, us=3.0),
    layer("head", ("joined",), ("y",), moved=3_000_000, macs=900_000_000, us=9.0),
)
GPU = Gpu(name="card", target=Target(8, 9), fp32_tflops=50.0, bandwidth_gbs=1000.0, approximate=("int8_tops",))
ROOFLINE = Roofline(
    gpu=GPU,
    tf32=False,
    batch=8,
    layers=tuple(
        LayerTime(each.name, each.kind, each.reads, each.macs, each.bytes_moved, 0.0, each.us) for each in LAYERS
    ),
    has_macs=True,
    ridges={"Half": 100.0, "Int8": 200.0},
)
PLAN = EnginePlan(
    compiler="compiler 1.0",
    source="build log (format v1)",
    precision=Precision.FP16,
    batch=8,
    targets=("sm_89",),
    layers=(),
)
FOUND = Inspection(
    plan=PLAN,
    title="net, fp16",
    weights=None,
    weights_digest=None,
    weights_notes=(),
    calibration=None,
    compiler="compiler 1.0",
    source="build log (format v1)",
    precision="fp16",
    batch=8,
    targets=("sm_89",),
    summary=PlanSummary(
        kernels=4,
        kinds={},
        batch=8,
        bytes_moved=5_500_000,
        engine_bytes=1_000_000,
        weights_bytes=700_000,
        activation_bytes=None,
        scratch_bytes=0,
        weighted_nodes=3,
        weighted_matched=3,
        weighted_reads={},
        other_precision={},
        unmatched=(),
    ),
    kernels_by_type=(KernelGroup("correlation", "Half", 2, 4_000_000),),
    conversions_by_kind=(ConversionGroup("cast", 1, 1_000_000, "cast"),),
    layers=LAYERS,
    audit=Audit(
        precision=Precision.FP16,
        wanted="Half",
        nodes=(
            AuditedNode("a", "Conv", "Half", "Half", "left", ""),
            AuditedNode("b", "Conv", "Half", "Float", "head", "the graph gives it Float"),
        ),
        conversions=(),
        bytes_moved=5_500_000,
    ),
    roofline=ROOFLINE,
    diagnoses=(Diagnosis("warning", "bytes", "moves 2 times the bytes"),),
    beside=None,
    diff=None,
)
