"""What stands on the command line of the running command, and what does not."""

from collections.abc import Collection

import click
from click.core import ParameterSource

from deploykit.errors import UsageError


def given(names: Collection[str]) -> str:
    """Those parameters of the running command that stand on its command line, as a user writes them."""
    context = click.get_current_context()
    found = [
        "/".join((*parameter.opts, *parameter.secondary_opts))
        for parameter in context.command.params
        if parameter.name in names and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    return ", ".join(found)


def refuse(names: Collection[str], why: str, *, hint: str) -> None:
    """Raises UsageError for those of the options that were given."""
    if found := given(names):
        raise UsageError(f"{found} {why}", hint=hint)


def require(names: Collection[str], what: str, *, hint: str = "") -> None:
    """Raises UsageError for those of the options that were given without `what`, which each of them requires."""
    if found := given(names):
        verb = "require" if ", " in found else "requires"
        raise UsageError(f"{found} {verb} {what}", hint=hint or f"add {what}, or leave out {found}")


def defaults(*, unasked: Collection[str] = ()) -> dict[str, str]:
    """Option -> value of what the running command chose because nobody did; `unasked` have no meaning this time."""
    context = click.get_current_context()
    found = {}
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        empty = value is None or value is False or value in ((), "")
        chosen = context.get_parameter_source(name) is ParameterSource.DEFAULT and not empty
        if chosen and isinstance(parameter, click.Option) and name not in unasked:
            found[parameter.opts[0]] = "" if value is True else str(value)
    return found
