"""`deploykit calibrate MODEL` and `deploykit calibrate merge SHARD...`: ranges of activations for INT8."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploykit.cli.options import (
    data_option,
    fuse_option,
    json_option,
    model_options,
    refuse,
    store_option,
    target_options,
)
from deploykit.cli.progress import StageProgress
from deploykit.errors import UsageError
from deploykit.spec import CALIBRATION_METHODS, BuildSpec, Calibration, DataSource, Fusions, ModelSpec, Repair, Target

if TYPE_CHECKING:
    from deploykit.plan.gpus import Gpu
    from deploykit.tuning.sensitivity import Aim
    from deploykit.workflow.export import Exported
    from deploykit.workflow.workspace import Workspace

METHOD_OPTIONS = (
    click.option(
        "--method", default=Calibration().method, show_default=True, help=f"One of {', '.join(CALIBRATION_METHODS)}."
    ),
    click.option(
        "--percentile", type=float, default=Calibration().percentile, show_default=True, help="For that method."
    ),
)


class CalibrateGroup(click.Group):
    """What is no subcommand is a MODEL."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["model", *args])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Options before MODEL are the model command's; `--help` is that of both."""
        if not args:
            raise UsageError("Missing argument 'MODEL'", hint="name a network, or `merge` and shards")
        return super().parse_args(ctx, ["model", *args] if args[0].startswith("-") else args)


@click.group("calibrate", cls=CalibrateGroup)
def command() -> None:
    """Measure the range of every activation of a network: the calibration table that INT8 is made with."""


@command.command("model")
@model_options
@fuse_option
@data_option
@click.option("--images", type=click.IntRange(1, 1_000_000), default=Calibration().images, show_default=True)
@METHOD_OPTIONS[0]
@METHOD_OPTIONS[1]
@click.option(
    "--int8-repair",
    default="none",
    show_default=True,
    help="As INT8 will be built with: a table belongs to the graph, which `equalize` changes.",
)
@click.option("--sensitivity", is_flag=True, help="Also try every layer in INT8 by itself, and show mixed graphs.")
@click.option("--max-drop", type=float, help="Of --sensitivity: the fewest layers in FP16 that lose so few points.")
@click.option("--min-sqnr", type=float, help="Of --sensitivity: the same for so many dB of the outputs' SQNR.")
@click.option("--test-images", type=click.IntRange(min=1), help="Of --sensitivity. Default: 16, with --max-drop 512.")
@target_options
@click.option("--shard", help="Count part i of n only (1/4), for `calibrate merge`. An interrupted one goes on.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write the table, or with --shard its counts, here."
)
@store_option
@json_option
def calibrate_model(
    model: ModelSpec,
    fusions: Fusions,
    data: DataSource,
    images: int,
    method: str,
    percentile: float,
    int8_repair: str,
    sensitivity: bool,
    max_drop: float | None,
    min_sqnr: float | None,
    test_images: int | None,
    targets: tuple[Target, ...],
    gpu: "Gpu | None",
    shard: str | None,
    output: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Calibrate MODEL on --data, streamed: memory does not grow with --images.

    Activations are counted once, in histograms; every --method reads those counts, so a second method costs nothing.
    `deploykit calibrate merge SHARD... -o TABLE` joins the parts that --shard wrote: the table is that of one pass, bit
    for bit. Build with it: `deploykit build MODEL --precision int8 --table TABLE`.

    --sensitivity shows what INT8 costs each layer by itself, and what mixed graphs lose and move; with --max-drop (on
    labeled --data) or --min-sqnr it finds the fewest layers to keep in FP16. --target names a GPU for the roofline.
    """
    from deploykit.io.files import write_text
    from deploykit.store import Store
    from deploykit.workflow.calibrate import Shard, calibrate, equalized, observe_shard, table_facts, write_shard
    from deploykit.workflow.export import export
    from deploykit.workflow.workspace import Workspace

    if fusions.auto:
        raise UsageError("a table belongs to one graph", hint="give --fuse the rewrites by name")
    _require_percentile(method)
    calibration = Calibration(images=images, method=method, percentile=percentile)
    part = Shard.parse(shard) if shard else None
    if part and output is None:
        raise UsageError("--shard writes a file", hint="name it with -o, such as -o shard1.json")
    if part:
        refuse(
            {"method", "percentile"}, "has no meaning with --shard: it counts only", hint="give it to `calibrate merge`"
        )
    aim = _aim(max_drop, min_sqnr, sensitivity=sensitivity, sharded=part is not None)
    repair = Repair.parse(int8_repair)
    spec = BuildSpec(model, data=data, calibration=calibration, repair=repair, fusions=fusions, targets=targets)
    workspace = Workspace(Store.open(store), StageProgress())
    exported = equalized(workspace, export(workspace, model, fusions), spec)
    if part and output:
        found = observe_shard(workspace, exported, spec, shard=part, kept=output)
        _print(write_shard(output, found), as_json=as_json)
        return
    table, facts = calibrate(workspace, exported, spec)
    if output:
        write_text(output, table.to_json())
    if sensitivity:
        _measure(workspace, exported, spec, aim=aim, images=test_images, gpu=gpu, as_json=as_json)
        return
    _print(table_facts(table, output, exported=exported, data=facts), as_json=as_json)


@command.command("merge")
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path))
@METHOD_OPTIONS[0]
@METHOD_OPTIONS[1]
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The table.")
@json_option
def calibrate_merge(shards: tuple[Path, ...], method: str, percentile: float, output: Path, as_json: bool) -> None:
    """Join the SHARDS of one calibration into its table."""
    from deploykit.io.files import write_text
    from deploykit.workflow.calibrate import merge_files, table_facts

    _require_percentile(method)
    calibration = Calibration(method=method, percentile=percentile)
    table = merge_files(shards).table(calibration.method, percentile=calibration.percentile)
    write_text(output, table.to_json())
    _print(table_facts(table, output), as_json=as_json)


def _aim(max_drop: float | None, min_sqnr: float | None, *, sensitivity: bool, sharded: bool) -> "Aim":
    from deploykit.tuning.sensitivity import Aim

    if not sensitivity:
        names = {"max_drop", "min_sqnr", "test_images", "targets"}
        refuse(names, "has a meaning with --sensitivity only", hint="add it, or leave the option out")
    if sensitivity and sharded:
        raise UsageError("--sensitivity needs the whole calibration", hint="leave out --shard")
    return Aim(max_drop=max_drop, min_sqnr=min_sqnr)


def _measure(
    workspace: "Workspace",
    exported: "Exported",
    spec: BuildSpec,
    *,
    aim: "Aim",
    images: int | None,
    gpu: "Gpu | None",
    as_json: bool,
) -> None:
    from deploykit.report.sensitivity import render_sensitivity
    from deploykit.results.document import SCHEMA_VERSION, to_json
    from deploykit.tuning.sensitivity import measure

    found = measure(workspace, exported, spec, aim=aim, images=images, gpu=gpu)
    if as_json:
        click.echo(to_json({"schema_version": SCHEMA_VERSION, **found.as_dict()}))
    else:
        render_sensitivity(found)


def _require_percentile(method: str) -> None:
    if method != "percentile":
        refuse({"percentile"}, "has a meaning with --method percentile only", hint="leave it out")


def _print(facts: dict[str, Any], *, as_json: bool) -> None:
    from deploykit.report.outcome import describe_calibration
    from deploykit.report.text import render_facts
    from deploykit.results.document import to_json

    if as_json:
        click.echo(to_json(facts))
    else:
        render_facts(describe_calibration(facts))
