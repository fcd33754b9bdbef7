"""What stands on the command line of the running command, and what does not."""

from collections.abc import Collection, Mapping

import click
from click.core import ParameterSource

from deploykit.cli.command import WRITTEN
from deploykit.errors import UsageError

PLURALS = (
    ("does not apply", "do not apply"),
    ("applies to", "apply to"),
    ("leave it out", "leave them out"),
    ("give it to", "give them to"),
)


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
    """Raises UsageError for those of the options that were given; `why` and `hint` speak of one option."""
    if found := given(names):
        raise UsageError(_agreeing(f"{found} {why}", found), hint=_agreeing(hint, found))


def require(names: Collection[str], what: str, *, hint: str = "") -> None:
    """Raises UsageError for those of the options that were given without `what`, which each of them requires."""
    if found := given(names):
        verb = "require" if ", " in found else "requires"
        raise UsageError(f"{found} {verb} {what}", hint=_agreeing(hint, found) or f"add {what}, or leave out {found}")


def as_written(other_names: Mapping[str, str], *, without: Collection[str]) -> list[str]:
    """The running command's arguments as they were written, for another command.

    That one has `other_names` for some of the parameters, and none for those of `without`.
    """
    context = click.get_current_context()
    options = {name: each for each in context.command.params for name in (*each.opts, *each.secondary_opts)}
    found: list[str] = []
    words = iter(context.meta[WRITTEN])
    for word in words:
        name, equals, value = word.partition("=")
        option = options.get(name) if word.startswith("-") else None
        if not isinstance(option, click.Option):
            found.append(word)
            continue
        values = [value] if equals else [] if option.is_flag else [next(words)]
        if option.name not in without:
            found += [other_names.get(str(option.name), name), *values]
    return found


def _agreeing(said: str, found: str) -> str:
    """`said`, which speaks of one option, in the plural where several were `found`."""
    for one, several in PLURALS if ", " in found else ():
        said = said.replace(one, several)
    return said


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
