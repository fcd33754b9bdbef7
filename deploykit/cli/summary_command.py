"""`deploykit summary MODEL`: what a network is made of, layer by layer."""

import click

from deploykit.cli.command import Command, output
from deploykit.cli.given import refuse
from deploykit.cli.idle import note
from deploykit.cli.options import JSON_OPTION
from deploykit.cli.requests import model_options
from deploykit.errors import UsageError
from deploykit.spec import ModelSpec

UNREAD = {"weights", "weights_key", "init_from", "seed", "preprocess"}
TEXTS = {
    "num_classes": "Classes of a zoo network. Default: the network's own.",
    "in_channels": "Input channels of a zoo network. Default: the network's own.",
}


@click.command("summary", cls=Command, unread=UNREAD, texts=TEXTS)
@model_options
@JSON_OPTION
@output("--csv", "as_csv", is_flag=True, common=True, help="Print one line of CSV per layer on stdout, without totals.")
def command(model: ModelSpec, as_json: bool, as_csv: bool) -> None:
    """Show each layer of MODEL: output shape, parameters, MACs, activations, receptive field.

    All of it follows from shapes: no weights are read, and nothing is exported or stored. For MobileNet with
    --width-mult, the cost that its paper predicts is shown beside the counted one.
    """
    if as_json and as_csv:
        raise UsageError("--json cannot be combined with --csv", hint="give one of them")
    refuse(UNREAD, "does not apply to a summary, which reads no weights and no images", hint="leave it out")
    from deploykit.api import summarize
    from deploykit.report.layers import layers_csv, render_layers

    network = summarize(model)
    if model.is_onnx:
        note({"input_ranges"}, "no input data is used")
    if as_json:
        click.echo(network.to_json())
    elif as_csv:
        click.echo(layers_csv(network), nl=False)
    else:
        render_layers(network)
