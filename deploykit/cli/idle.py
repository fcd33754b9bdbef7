"""Options without an effect: no option is ignored in silence.

Options of one command that contradict each other are a usage error. Options that describe the network, its images or
one of several precisions are often kept in one list for several commands, of which only some read them: those get a
warning on stderr (`note`).
"""

from collections.abc import Collection

from deploykit.cli.answers import warn
from deploykit.cli.given import given, require
from deploykit.cli.options import BUILDER, INT8, TARGETS
from deploykit.errors import UsageError
from deploykit.spec import BuildSpec, ModelSpec, Precision, QuantizationPolicy

OF_INPUTS = {"seed", "input_ranges"}  # which a file, that has its weights, needs only where it is shown something


def note(names: Collection[str], why: str) -> None:
    """Say on stderr of those of the options that were given that they have no effect."""
    if idle := given(names):
        verb = "have" if ", " in idle else "has"
        warn(f"{idle} {verb} no effect: {why}")


def check_exceptions(
    precisions: Collection[Precision], *, keep_fp32: Collection[str], policy: QuantizationPolicy
) -> None:
    """Raises UsageError for --keep-fp32 where nothing becomes float16, --int8-exclude where nothing becomes INT8."""
    half = Precision.FP16 in precisions or (Precision.INT8 in precisions and policy.rest is Precision.FP16)
    if keep_fp32 and not half and not (policy.auto and Precision.INT8 in precisions):
        raise UsageError(
            "--keep-fp32 requires fp16, or int8 with --int8-policy rest=fp16",
            hint="add --precision fp16, or leave out --keep-fp32",
        )
    if policy.exclude and Precision.INT8 not in precisions:
        raise UsageError(
            "--int8-exclude requires int8", hint="leave it out; --keep-fp32 names what fp16 keeps in float32"
        )


def require_auto(*, auto: bool) -> None:
    """Raises UsageError for what only the search of --fuse auto reads."""
    if not auto:
        require({"fuse_budget"}, "--fuse auto")


def require_rows(spec: BuildSpec, precisions: Collection[Precision], backends: Collection[str]) -> None:
    """Raises UsageError for options that none of a table's rows reads."""
    from deploykit.api.choices import compiles

    if spec.policy.auto:
        raise UsageError("--int8-policy plan requires `build` or `inspect`", hint="give the policy that they print")
    check_exceptions(precisions, keep_fp32=spec.keep_fp32, policy=spec.policy)
    require_auto(auto=spec.fusions.auto)
    if Precision.INT8 not in precisions:
        require(INT8, "int8", hint="add int8 to --precision, or leave it out")
    if Precision.FP16 not in precisions and not spec.keep_io:
        require({"keep_io"}, "fp16", hint="add fp16 to --precision, or leave it out")
    if not any(map(compiles, backends)):
        compiled = BUILDER if spec.fusions.auto else (*BUILDER, *TARGETS)
        require(compiled, "a backend that compiles", hint="add trt or trt-rtx to --backends, or leave it out")


def note_unread(spec: BuildSpec, precisions: Collection[Precision], *, quantized: bool, overflow: bool) -> None:
    """Say which options the build of a network at `precisions` did not read.

    `quantized`: a file that came so is not calibrated. `overflow`: FP16 was tried on images.
    """
    int8, at = Precision.INT8 in precisions, f"at --precision {spec.precision}"
    ours = int8 and not quantized
    if not int8:
        note(INT8, f"nothing is quantized {at}")
    if not spec.keep_io and Precision.FP16 not in precisions:
        note({"keep_io"}, f"inputs and outputs stay float32 {at}")
    table = ours and spec.calibration.table is not None
    calibrated = ours and (not table or spec.repair.equalize or spec.repair.bias)
    tried = overflow and (Precision.FP16 in precisions or (ours and spec.policy.rest is Precision.FP16))
    if calibrated or tried:
        return
    unread = {"data"} if table else {"data", "preprocess"}  # a table has to be of images prepared as asked
    if spec.model.is_onnx and not (spec.fusions.auto or spec.policy.auto):
        unread |= OF_INPUTS
    note(unread, f"no input data is used {at}" + (" with --table" if table else ""))


def note_unshown(model: ModelSpec, *, stem: bool, checked: bool, priced: bool) -> None:
    """Say which options an export does not read: it is `checked` on noise, and `priced` rewrites are timed on some."""
    if not stem:
        note({"preprocess"}, "the graph takes preprocessed images; --stem uint8 preprocesses in the graph")
    if model.is_onnx and not priced:
        note({"seed"}, "the file contains its weights")
        if not checked:
            note({"input_ranges"}, "no input data is used with --no-check")
