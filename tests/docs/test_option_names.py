"""The table of options and Python parameters: what it names exists, and what exists is in it or has the same name."""

import inspect
import re

import click
import pytest
from site_pages import DOCS

import deploykit as dk
from deploykit.cli import COMMANDS, deploykit

OWN_RETURN = {"save", "to_json"}


@pytest.fixture(scope="module")
def table() -> list[tuple[str, str]]:
    """The rows: what stands under `command line`, and under `Python`."""
    page = (DOCS / "reference/api.md").read_text()
    rows = re.search(r"\| command line \| Python \|\n\|---\|---\|\n((?:\|.*\n)+)", page)[1]
    return [tuple(cell.strip() for cell in row.strip("|").split(" | ", 1)) for row in rows.splitlines()]


@pytest.fixture(scope="module")
def options() -> set[str]:
    """Every name of every option of every command, without hyphens in front."""
    found = set()
    with click.Context(deploykit) as context:
        for name in COMMANDS:
            command = deploykit.get_command(context, name)
            for each in command.commands.values() if isinstance(command, click.Group) else [command]:
                named = (param for param in each.params if isinstance(param, click.Option))
                found |= {text[2:] for param in named for text in (*param.opts, *param.secondary_opts)}
    return {text for text in found if text}


@pytest.fixture(scope="module")
def parameters() -> set[str]:
    """Every parameter of every public function."""
    functions = (getattr(dk, name) for name in dk.__all__)
    return {name for each in functions if inspect.isfunction(each) for name in inspect.signature(each).parameters}


def test_what_the_table_names_exists(table, options, parameters):
    for left, right in table:
        assert set(re.findall(r"--([a-z0-9-]+)", left)) <= options, left
        for name in re.findall(r"`([a-z_]+)(?:\(\))?`", right):
            assert name in parameters | set(dk.__all__) | OWN_RETURN, right


def test_every_option_is_a_parameter_of_the_same_name_or_in_the_table(table, options, parameters):
    said = {name for left, _ in table for name in re.findall(r"--([a-z0-9-]+)", left)}
    assert {name for name in options - said if name.replace("-", "_") not in parameters} == set()


def test_every_parameter_is_an_option_of_the_same_name_or_in_the_table(table, options, parameters):
    said = {name for _, right in table for name in re.findall(r"`([a-z_]+)`", right)}
    assert parameters - said - {name.replace("-", "_") for name in options} == set()
