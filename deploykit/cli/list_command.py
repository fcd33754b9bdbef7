"""`deploykit list`: the zoo, from its cards alone."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from deploykit.cli.answers import warn
from deploykit.cli.command import Argument, Command, output
from deploykit.cli.options import JSON_OPTION
from deploykit.cli.types import ModelName

if TYPE_CHECKING:
    from deploykit.zoo.registry import Card


PATTERN_HELP = "Part of a name, or a pattern with wildcards (resnet*)."


@click.command("list", cls=Command)
@click.argument("pattern", cls=Argument, required=False, type=ModelName(), text=PATTERN_HELP)
@output("--miniatures", formerly=("--all",), is_flag=True, common=True, help="Also list the small test_* networks.")
@JSON_OPTION
def command(pattern: str | None, miniatures: bool, as_json: bool) -> None:
    """List the networks of the zoo and of installed plug-ins.

    Each is shown with its parameters, multiply-accumulates (MACs), input, published top-1 accuracy and paper.
    """
    from deploykit.results.document import SCHEMA_VERSION, to_json
    from deploykit.zoo.listing import list_cards

    found = list_cards(pattern or "", miniatures=miniatures, warn=warn)
    if as_json:
        models = [{**asdict(card), "input": _input(card)} for card in found]
        click.echo(to_json({"schema_version": SCHEMA_VERSION, "models": models}))
        return
    from deploykit.report.text import render_table

    render_table(
        ["name", "parameters", "MACs", "input", "top-1 %", "paper"],
        [
            [
                card.name,
                _grouped(card.params),
                _grouped(card.macs),
                "x".join(map(str, _input(card))),
                f"{card.top1:g}" if card.top1 else "",
                f"arXiv {card.arxiv}" if card.arxiv else card.paper,
            ]
            for card in found
        ],
        right=("parameters", "MACs", "top-1 %"),
    )


def _input(card: "Card") -> list[int]:
    return [card.channels, card.image_size, card.image_size]


def _grouped(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
