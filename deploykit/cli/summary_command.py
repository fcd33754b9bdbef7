"""`deploykit summary MODEL`: what a network is made of, layer by layer."""

import click

from deploykit.cli.idle import note
from deploykit.cli.options import json_option, model_options, refuse
from deploykit.errors import UsageError
from deploykit.spec import ModelSpec

UNREAD = {"weights", "init_from", "seed", "preprocess"}


@click.command("summary")
@model_options
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print one line of CSV per layer on stdout, without totals.")
def command(model: ModelSpec, as_json: bool, as_csv: bool) -> None:
    """Each layer of MODEL: output shape, parameters, multiply-accumulates, activations, receptive field.

    Read off shapes alone, so nothing is trained, exported or stored, and --weights, --init-from, --seed and
    --preprocess are refused.
    For a network with a width multiplier, MobileNet's cost law stands beside what its blocks really take.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other", hint="give one of them")
    refuse(UNREAD, "has no meaning: a summary reads no weights and is shown no images", hint="leave it out")
    from deploykit.report.layers import layers_csv, render_layers
    from deploykit.results.document import SCHEMA_VERSION, to_json
    from deploykit.workflow.summarize import summarize

    network = summarize(model)
    if model.is_onnx:
        note({"input_ranges"}, "nothing is shown to the network")
    if as_json:
        click.echo(to_json({"schema_version": SCHEMA_VERSION, **network.as_json()}))
    elif as_csv:
        click.echo(layers_csv(network), nl=False)
    else:
        render_layers(network)
