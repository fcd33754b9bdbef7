"""`deploykit list`: the zoo, from its cards alone."""

from collections.abc import Iterator
from dataclasses import asdict
from fnmatch import fnmatch
from typing import TYPE_CHECKING

import click

from deploykit.cli.options import json_option
from deploykit.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from deploykit.zoo.registry import Card


@click.command("list")
@click.argument("pattern", required=False)
@click.option("--all", "everything", is_flag=True, help="Also the test_* miniatures.")
@json_option
def command(pattern: str | None, everything: bool, as_json: bool) -> None:
    """The zoo, and what installed plug-ins add: parameters, multiply-accumulates, input, published top-1, paper.

    PATTERN keeps the names that contain it, or match it where it has wildcards (resnet*).
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
