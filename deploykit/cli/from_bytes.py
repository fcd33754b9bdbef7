"""`verify MODEL --from-bytes`: pipelines from image files to the network's input."""

from collections.abc import Sequence

import click

from deploykit.cli.comparison_options import ComparisonOptions
from deploykit.cli.given import refuse
from deploykit.cli.progress import StageProgress

READ = {  # parameters of `verify` that --from-bytes reads
    *("model", "weights", "weights_key", "num_classes", "in_channels", "init_from", "image_size", "width_mult"),
    *("input_shapes", "factory_args", "seed", "preprocess", "fusions", "data", "store", "as_json"),
    *("from_bytes", "pipelines", "images"),
}


def compare_pipelines(shared: ComparisonOptions, pipelines: Sequence[str], images: int) -> None:
    """Print the report and leave with its exit code; raises UsageError for every option that would be passed over."""
    from deploykit.api import verify_from_bytes
    from deploykit.report.from_bytes import render_from_bytes

    unread = {str(param.name) for param in click.get_current_context().command.params} - READ
    refuse(unread, "cannot be combined with --from-bytes", hint="leave it out, or leave out --from-bytes")
    spec = shared.spec
    report = verify_from_bytes(
        spec.model,
        data=spec.data,
        pipelines=pipelines,
        images=images,
        fusions=spec.fusions,
        store=shared.store,
        progress=StageProgress(),
    )
    if shared.as_json:
        click.echo(report.to_json())
    else:
        render_from_bytes(report)
    click.get_current_context().exit(report.failure.exit_code if report.failure else 0)
