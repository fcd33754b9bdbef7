"""What `verify` and `bench` share: their options, and the request they become."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploykit.cli.options import (
    calibration_option,
    data_option,
    json_option,
    model_options,
    model_spec,
    parse_backends,
    parse_batch,
    parse_precisions,
    parse_targets,
    store_option,
    strict_option,
    target_option,
)

if TYPE_CHECKING:
    from deploykit.pipeline.comparison import Request
    from deploykit.report import Report


def comparison_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for decorate in reversed(
        (
            model_options,
            click.option("--backends", default="torch,ort,trt", show_default=True, help="Rows, in this order."),
            click.option("--precision", default="fp32", show_default=True, help="fp32, fp16, int8; commas between."),
            click.option("--batch", type=int, default=1, show_default=True, help="Images a run."),
            click.option("--threads", type=int, default=0, help="CPU threads of each row. Default: one per core."),
            target_option,
            data_option,
            calibration_option,
            strict_option,
            store_option,
            json_option,
        )
    ):
        command = decorate(command)
    return command


def comparison_request(
    *,
    model: str,
    weights: Path | None,
    image_size: int | None,
    width_mult: float | None,
    seed: int,
    backends: str,
    precision: str,
    batch: int,
    threads: int,
    targets: tuple[str, ...],
    data: Path | None,
    calibration_images: int,
    strict_backend: bool,
    max_seconds: float = 60.0,
    throughput: bool = False,
    typed: Path | None = None,
) -> "Request":
    from deploykit.bench import BenchSettings
    from deploykit.pipeline.comparison import Request
    from deploykit.spec import BuildSpec

    precisions = parse_precisions(precision)
    return Request(
        spec=BuildSpec(
            model=model_spec(model, weights, image_size, width_mult, seed),
            batch=parse_batch(batch),
            targets=parse_targets(targets),
            data=data,
            calibration_images=calibration_images,
        ),
        backends=parse_backends(backends),
        precisions=precisions,
        settings=BenchSettings(threads=threads, batch=batch, max_seconds=max_seconds, seed=seed, throughput=throughput),
        strict=strict_backend,
        typed=typed,
    )


def finish(report: "Report", *, as_json: bool) -> None:
    """Print the report and leave with its exit code."""
    from deploykit.pipeline.comparison import exit_code
    from deploykit.report import to_json
    from deploykit.report.table import render_report

    if as_json:
        click.echo(to_json(report.as_json()))
    else:
        render_report(report)
    click.get_current_context().exit(exit_code(report))
