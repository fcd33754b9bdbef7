"""README keeps up with the code: every command, network and option it shows exists, with the figures it shows."""

import re
from pathlib import Path

import pytest

from deploykit import errors
from deploykit.cli import COMMANDS
from deploykit.zoo.registry import cards

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_shown(name):
    assert f"`deploykit {name}" in README


@pytest.mark.parametrize(
    "card", [card for card in cards().values() if not card.is_miniature], ids=lambda card: card.name
)
def test_every_network_stands_in_the_table_with_its_figures(card):
    line = next(line for line in README.splitlines() if line.startswith(f"| {card.name} |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:3] == [f"{card.params:,}", f"{card.macs:,}"]


def test_every_exit_code_is_named():
    sentence = re.search(r"Exit codes:(.*?)\n\n", README, re.DOTALL).group(1)
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    for code in codes | {0, 130, 143}:
        assert re.search(rf"\b{code}\b", sentence), code


def test_every_option_shown_exists():
    from click import Context, Group

    from deploykit.cli import deploykit

    with Context(deploykit) as context:
        commands = [deploykit.get_command(context, name) for name in COMMANDS]
    commands += [inner for command in commands if isinstance(command, Group) for inner in command.commands.values()]
    known = {
        option
        for command in commands
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", README))
    assert shown - {"--help"} <= known


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target.startswith("https://arxiv.org/abs/") or (ROOT / target).exists(), target
