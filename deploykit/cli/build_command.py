"""`deploykit build MODEL`: typed graph to engine."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from deploykit.cli.answers import answer
from deploykit.cli.command import Command, backend, output, precision
from deploykit.cli.given import defaults, given, require
from deploykit.cli.idle import check_exceptions, note_unread, require_auto
from deploykit.cli.options import (
    ANSWER_OPTIONS,
    CALIBRATION,
    COMPILER_HELP,
    DATA_KINDS,
    FUSE_BUDGET_OPTIONS,
    INT8,
    STRICT_OPTIONS,
)
from deploykit.cli.requests import BATCH, ENGINE, TF32, build_spec, keywords, with_options
from deploykit.cli.types import COMPILER, OUTPUT, Parsed, words
from deploykit.errors import DeploykitError
from deploykit.spec import BuildSpec, Precision

if TYPE_CHECKING:
    from deploykit.api import Gpu
    from deploykit.results.build import UndecidedResult

BEST = "best"
TEXTS = {"data": f"Images for INT8 calibration and the FP16 overflow check: {DATA_KINDS} Default: the demo images."}
UNDECIDED = "build on a GPU, give --precision fp16 or int8, or let TensorRT-RTX's plans decide: --accept-rtx-plan"


def parse_precision(text: str) -> Precision | None:
    """None for the best one, which is still to be found."""
    return None if text.strip().lower() == BEST else Precision.parse(text)


@click.command("build", cls=Command, texts=TEXTS)
@with_options(
    precision(
        "--precision",
        "asked",
        type=Parsed(parse_precision, words(*Precision, BEST), metavar="[fp32|fp16|int8|best]"),
        default="fp32",
        show_default=True,
        common=True,
        help="Precision of the engine. best: the faster of fp16 and int8, measured on the GPU, or by the compiled plan "
        "for trt-rtx.",
    ),
    precision(
        "--accept-rtx-plan",
        is_flag=True,
        help="With --precision best and trt, and no GPU to measure on: let TensorRT-RTX's plans decide.",
    ),
    backend(
        "--backend",
        type=COMPILER,
        default="trt",
        show_default=True,
        common=True,
        help=COMPILER_HELP,
    ),
)
@build_spec(BATCH, *ENGINE, TF32)
@with_options(
    *STRICT_OPTIONS,
    *FUSE_BUDGET_OPTIONS,
    output(
        "-o",
        "--output",
        type=OUTPUT,
        common=True,
        help="Also copy the engine to FILE, with a record for inspect in FILE.json.",
    ),
    *ANSWER_OPTIONS,
)
def command(
    spec: BuildSpec,
    gpu: "Gpu | None",
    asked: Precision | None,
    accept_rtx_plan: bool,
    backend: str,
    strict_backend: bool,
    fuse_budget: float,
    output: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Build an engine for MODEL and report what was compiled.

    The engine is compiled from the typed ONNX file: MODEL's graph in float32, in float16 (inputs and outputs float32
    unless --half-io), or in float32 with Q/DQ pairs for INT8. The line `precision in graph` says which layers have the
    precision that was asked for, and why others do not.

    Without a GPU, TensorRT-RTX compiles ahead of time for --target. --precision best with trt then compiles both
    candidates, shows their plans, chooses neither (no --output is written) and exits 1, unless --accept-rtx-plan is
    given.
    """
    from deploykit.api import PrecisionUndecided, build
    from deploykit.report.build import describe_build, describe_undecided

    require_read(spec, asked)
    try:
        built = build(
            spec.model,
            precision=asked or BEST,
            backend=backend,
            data=spec.data,
            **keywords(spec, gpu, store),
            tf32=spec.tf32,
            fusion_seconds=fuse_budget,
            strict=strict_backend,
            accept_rtx_plan=accept_rtx_plan,
        )
    except PrecisionUndecided as undecided:
        answer(cast("UndecidedResult", undecided.result), describe_undecided, as_json=as_json)
        raise DeploykitError(undecided.message, hint=UNDECIDED) from None
    copied = built.save(output) if output else built.result.engine
    found = replace(built.result, defaults=chosen_by_default(built.spec), engine=copied)
    answer(found, describe_build, as_json=as_json)
    note_unread(built.spec, precisions_of(asked), quantized=built.built.exported.quantized, overflow=True)


def precisions_of(asked: Precision | None) -> tuple[Precision, ...]:
    """What is built: the one asked for, or the candidates for the best."""
    return (asked,) if asked else (Precision.FP16, Precision.INT8)


def require_read(spec: BuildSpec, asked: Precision | None) -> None:
    """Raises UsageError for options that nothing would read."""
    if asked:
        require({"accept_rtx_plan"}, "--precision best")
    check_exceptions(precisions_of(asked), keep_fp32=spec.keep_fp32, policy=spec.policy)
    require_auto(auto=spec.fusions.auto)


def chosen_by_default(spec: BuildSpec) -> dict[str, str]:
    """Option -> value of what nobody asked for and `spec`, which was built, has."""
    found = defaults(unasked=_unread(spec))
    if "--batch" in found:
        found["--batch"] = str(spec.batch)
    return found if given({"targets"}) else {**found, "--target": ", ".join(map(str, spec.targets))}


def _unread(spec: BuildSpec) -> set[str]:
    """Options that nothing reads at this precision: no default of theirs was chosen."""
    unread = {"seed"} if spec.precision is Precision.INT8 else {"seed", *INT8}  # the weights say their seed
    if spec.calibration.table is not None:
        unread |= set(CALIBRATION)
    if spec.calibration.method != "percentile":
        unread.add("percentile")
    return unread if spec.precision is Precision.FP16 else {*unread, "keep_io"}
