"""`deploykit calibrate MODEL` and `deploykit calibrate merge SHARD...`: ranges of activations for INT8."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click
from click.shell_completion import CompletionItem

from deploykit.cli.answers import answer
from deploykit.cli.command import Argument, Command, Context, int8, output, sensitivity
from deploykit.cli.given import as_written, refuse, require
from deploykit.cli.options import ANSWER_OPTIONS, DATA_KINDS, JSON_OPTION, PERCENTILE
from deploykit.cli.progress import StageProgress
from deploykit.cli.requests import DATA, REPAIR, Group, build_spec, require_percentile, with_options
from deploykit.cli.types import FILE, METHOD, OUTPUT
from deploykit.errors import UsageError
from deploykit.spec import BuildSpec, Calibration, DataSource, Fusions, Progress, Repair

if TYPE_CHECKING:
    from deploykit.api import Gpu

METHOD_OPTIONS = (
    int8(
        "--method",
        type=METHOD,
        default=Calibration().method,
        show_default=True,
        common=True,
        help="Calibration algorithm.",
    ),
    PERCENTILE,
)
IMAGES_OPTION = int8(
    "--images",
    type=click.IntRange(min=1),
    default=Calibration().images,
    show_default=True,
    metavar="N",
    common=True,
    help="Number of calibration images.",
)


def _read_calibration(spec: BuildSpec, *, images: int, method: str, percentile: float) -> BuildSpec:
    require_percentile(method, option="--method")
    return replace(spec, calibration=Calibration(images=images, method=method, percentile=percentile))


CALIBRATION = Group((IMAGES_OPTION, *METHOD_OPTIONS), _read_calibration)


class CalibrateGroup(click.Group):
    """What is no subcommand is a MODEL: the command that takes it has no name of its own."""

    context_class = Context

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] == calibrate_merge.name:
            return super().resolve_command(ctx, args)
        return None, calibrate_model, args

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Options before MODEL are the model's too, `--help` among them."""
        if not args and not ctx.resilient_parsing:
            raise UsageError("Missing argument 'MODEL'", hint="name a network, or `merge` and shards")
        return super().parse_args(ctx, ["--", *args] if args and args[0].startswith("-") else args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        own = click.Context(calibrate_model, parent=ctx, resilient_parsing=True)
        if incomplete.startswith("-"):
            return calibrate_model.shell_complete(own, incomplete)
        found = next(iter(calibrate_model.params)).shell_complete(own, incomplete)
        if not "merge".startswith(incomplete):
            return found
        return [CompletionItem("merge"), *(item for item in found if item.type == "plain")]


AS_BUILD_HAS_IT = {"images": "--calibration-images", "method": "--calibration-method"}
OF_SENSITIVITY = {"sensitivity", "max_drop", "min_sqnr", "test_images", "output"}
TEXTS = {
    "data": f"Images to calibrate on, half of which are left for tests: {DATA_KINDS} Default: the demo images. "
    "--max-drop requires labeled images.",
    "targets": "With --sensitivity: compute capability (sm_89) or GPU (rtx4090) that the plans of mixed graphs are "
    "compiled for; repeatable. Default: the GPU of this machine, else sm_89.",
    "gpu_table": "With --sensitivity: TOML file with peak rates of further GPUs for --target.",
}


@click.group("calibrate", cls=CalibrateGroup)
def command() -> None:
    """Make the calibration table for INT8."""


@command.command("MODEL", cls=Command, texts=TEXTS)
@build_spec(DATA, CALIBRATION, REPAIR, search=False)
@with_options(
    sensitivity(
        "--sensitivity",
        is_flag=True,
        common=True,
        help="Also measure the loss of each layer in INT8 by itself, and of mixed FP16 and INT8 graphs.",
    ),
    sensitivity(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="With --sensitivity: search for a small set of layers to keep in FP16 so that the network loses at most "
        "this many percentage points of top-1.",
    ),
    sensitivity(
        "--min-sqnr",
        type=float,
        metavar="DB",
        help="With --sensitivity: search for a small set of layers to keep in FP16 so that the network's outputs reach "
        "this SQNR, in dB.",
    ),
    sensitivity(
        "--test-images",
        type=click.IntRange(min=1),
        metavar="N",
        help="With --sensitivity: images that the loss is measured on. Default: 16, and 512 with --max-drop.",
    ),
    output(
        "--shard",
        metavar="I/N",
        help="Collect the statistics of part I of N (1/4) only, for `calibrate merge`. An interrupted shard resumes.",
    ),
    output(
        "-o", "--output", type=OUTPUT, common=True, help="Write the table, or the statistics of --shard, to this file."
    ),
    *ANSWER_OPTIONS,
)
def calibrate_model(
    spec: BuildSpec,
    gpu: "Gpu | None",
    sensitivity: bool,
    max_drop: float | None,
    min_sqnr: float | None,
    test_images: int | None,
    shard: str | None,
    output: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Measure the range of every activation of MODEL on --data: the calibration table that INT8 is built with.

    Images are streamed, so memory does not grow with --images. Histograms are collected once, and every --method reads
    them, so trying a second method is cheap. `deploykit build MODEL --precision int8 --table FILE` uses the table.

    Large sets can be split: --shard writes the statistics of a part, and `deploykit calibrate merge SHARD... -o TABLE`
    joins them into the table of a single pass, bit for bit.

    --sensitivity shows what each layer loses in INT8 by itself, and the loss and memory traffic of mixed graphs. With
    --max-drop (on labeled --data) or --min-sqnr it searches for a small set of layers to keep in
    FP16.
    """
    _require_read(spec, shard, sensitivity=sensitivity, output=output)
    shared: _Shared = {
        "data": spec.data,
        "images": spec.calibration.images,
        "repair": spec.repair,
        "fusions": spec.fusions,
        "store": store,
        "progress": StageProgress(),
    }
    if shard and output:
        _count(spec, shared, shard=shard, output=output, as_json=as_json)
    elif sensitivity:
        _measure(spec, shared, gpu, aim=_Aim(max_drop, min_sqnr, test_images), output=output, as_json=as_json)
    else:
        _calibrate(spec, shared, output=output, as_json=as_json)


@command.command("merge", cls=Command)
@click.argument("shards", cls=Argument, nargs=-1, required=True, type=FILE, text="Files that --shard wrote.")
@with_options(
    *METHOD_OPTIONS,
    output("-o", "--output", type=OUTPUT, required=True, common=True, help="Write the table to this file."),
    JSON_OPTION,
)
def calibrate_merge(shards: tuple[Path, ...], method: str, percentile: float, output: Path, as_json: bool) -> None:
    """Join the shards of one calibration into its table."""
    from deploykit.api import merge_shards
    from deploykit.report.build import describe_calibration

    require_percentile(method, option="--method")
    table = merge_shards(shards, output=output, method=method, percentile=percentile)
    answer(table.result, describe_calibration, as_json=as_json)


def _require_read(spec: BuildSpec, shard: str | None, *, sensitivity: bool, output: Path | None) -> None:
    """Raises UsageError for options that are at odds with each other."""
    if spec.fusions.auto:
        raise UsageError(
            "calibrate does not take --fuse auto", hint="name the fusions, such as --fuse safe,merge_siblings"
        )
    if shard and output is None:
        raise UsageError("--shard requires an output file", hint="name it with -o, such as -o shard1.json")
    if shard:
        why = "does not apply to --shard, which collects statistics only"
        refuse({"method", "percentile"}, why, hint="give it to `calibrate merge`")
    if shard and sensitivity:
        raise UsageError("--sensitivity cannot be combined with --shard", hint="it requires all images: leave one out")
    if not sensitivity:
        require({"max_drop", "min_sqnr", "test_images", "targets"}, "--sensitivity")


class _Shared(TypedDict):
    """What counting, calibrating and measuring sensitivity have in common, by the names that the API has for it."""

    data: DataSource
    images: int
    repair: Repair
    fusions: Fusions
    store: Path | None
    progress: Progress


@dataclass(frozen=True, slots=True)
class _Aim:
    """What a mixed graph has to reach, and the images that it is judged on."""

    max_drop: float | None
    min_sqnr: float | None
    test_images: int | None


def _count(spec: BuildSpec, shared: _Shared, *, shard: str, output: Path, as_json: bool) -> None:
    from deploykit.api import calibrate_shard
    from deploykit.report.build import describe_shard

    answer(calibrate_shard(spec.model, shard=shard, output=output, **shared), describe_shard, as_json=as_json)


def _calibrate(spec: BuildSpec, shared: _Shared, *, output: Path | None, as_json: bool) -> None:
    from deploykit.api import calibrate
    from deploykit.report.build import describe_calibration

    method, percentile = spec.calibration.method, spec.calibration.percentile
    table = calibrate(spec.model, method=method, percentile=percentile, **shared)
    found = replace(table.result, table=table.save(output)) if output else table.result
    answer(found, describe_calibration, as_json=as_json)


def _measure(
    spec: BuildSpec, shared: _Shared, gpu: "Gpu | None", *, aim: _Aim, output: Path | None, as_json: bool
) -> None:
    from deploykit.api import calibrate, sensitivity
    from deploykit.report.sensitivity import render_sensitivity
    from deploykit.results.document import to_json

    method, percentile = spec.calibration.method, spec.calibration.percentile
    if output:
        calibrate(spec.model, method=method, percentile=percentile, **shared).save(output)
    found = sensitivity(
        spec.model,
        method=method,
        percentile=percentile,
        max_drop=aim.max_drop,
        min_sqnr=aim.min_sqnr,
        test_images=aim.test_images,
        target=(gpu, *spec.targets) if gpu else spec.targets,
        **shared,
    )
    if as_json:
        click.echo(to_json(found))
    else:
        render_sensitivity(found, asked=as_written(AS_BUILD_HAS_IT, without=OF_SENSITIVITY))
