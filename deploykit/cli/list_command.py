"""`deploykit list`: the zoo, from its cards alone."""

from collections.abc import Iterator
from dataclasses import asdict
from fnmatch import fnmatch
from typing import TYPE_CHECKING

import click

from deploykit.cli.command import Argument, Command, output
from deploykit.cli.options import JSON_OPTION
from deploykit.cli.types import ModelName
from deploykit.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from deploykit.zoo.registry import Card


PATTERN_HELP = "Part of a name, or a pattern with wildcards (resnet*)."


@click.command("list", cls=Command)
@click.argument("pattern", cls=Argument, required=False, type=ModelName(), text=PATTERN_HELP)
@output("--all", "everything", is_flag=True, common=True, help="Also list the test_* networks.")
@JSON_OPTION
def command(pattern: str | None, everything: bool, as_json: bool) -> None:
    """List the networks of the zoo and of installed plug-ins.

    Each with its parameters, multiply-accumulates (MACs), input, published top-1 accuracy and paper.
    """
    from deploykit.results.document import SCHEMA_VERSION, to_json
    from deploykit.zoo.registry import cards

    listed = [*cards().values(), *_plug_ins()]
    found = [card for card in listed if everything or not card.is_miniature]
    if pattern:
        wanted = pattern.lower()
        kept = [card for card in found if wanted in card.name or fnmatch(card.name, wanted)]
        if not kept:
            raise UnknownName("model or pattern", pattern, [card.name for card in found])
        found = kept
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


def _plug_ins() -> Iterator["Card"]:
    """Those with sound cards; each other one is a line on stderr, and hides no network but itself."""
    from deploykit.zoo.registry import find_card, foreign_names

    for name in foreign_names():
        try:
            yield find_card(name)
        except UsageError as error:
            click.echo(f"deploykit: {error}", err=True)


def _input(card: "Card") -> list[int]:
    return [card.channels, card.image_size, card.image_size]


def _grouped(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
