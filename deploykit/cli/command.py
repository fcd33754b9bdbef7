"""What every command is made of: options in sections, a short `--help`, and `--help-all` for the rest.

cloup 4.0 was looked at: it adds 20 to 45 ms to click's own 40 to 60, and has no second page of help.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from deploykit.cli.answers import warn

if TYPE_CHECKING:
    from click.types import OptionHelpExtra

SECTIONS = ("Model", "Graph", "Precision", "INT8", "Backend", "Measurement", "Sensitivity", "Data", "Output", "Help")
MOST_SHOWN = 12  # options on the page of --help
TERM_WIDTH = 28  # columns
HYPHEN = "\u2011"  # which no line is broken at
EVERYTHING = "deploykit.cli.everything"
WRITTEN = "deploykit.cli.written"  # the arguments of the command, with present names of options


class Formatter(click.HelpFormatter):
    """Breaks no line inside the name of an option."""

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", HYPHEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = TERM_WIDTH, col_spacing: int = 2) -> None:
        unbroken = [(term, text.replace("-", HYPHEN)) for term, text in rows]
        super().write_dl(unbroken, col_max=col_max, col_spacing=col_spacing)

    def getvalue(self) -> str:
        return super().getvalue().replace(HYPHEN, "-")


class Context(click.Context):
    formatter_class = Formatter

    @property
    def command_path(self) -> str:
        """Without the gap of a command that has no name of its own."""
        return " ".join(super().command_path.split())


class Option(click.Option):
    """An option in a `section` of the help. `--help` shows those that are `common`, `--help-all` every one.

    `formerly` has its older names: they work, and a line on stderr says the present one.
    """

    def __init__(
        self,
        declarations: Sequence[str],
        *,
        section: str,
        common: bool = False,
        formerly: Sequence[str] = (),
        **attributes: Any,
    ) -> None:
        super().__init__(declarations, **attributes)
        self.section = section
        self.common = common
        self.formerly = tuple(formerly)

    def get_help_extra(self, ctx: click.Context) -> "OptionHelpExtra":
        """The range of a number is left out where it has one end only, or stands in the metavar."""
        extra = super().get_help_extra(ctx)
        closed = isinstance(self.type, click.IntRange | click.FloatRange) and self.type.max is not None
        if not closed or (self.metavar or "").startswith("["):
            extra.pop("range", None)
        return extra


class Argument(click.Argument):
    """An argument that the help explains, in front of the model's options."""

    def __init__(self, declarations: Sequence[str], *, text: str, **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        self.text = text

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return self.make_metavar(ctx), self.text


model = partial(click.option, cls=Option, section="Model")
graph = partial(click.option, cls=Option, section="Graph")
precision = partial(click.option, cls=Option, section="Precision")
int8 = partial(click.option, cls=Option, section="INT8")
backend = partial(click.option, cls=Option, section="Backend")
measurement = partial(click.option, cls=Option, section="Measurement")
sensitivity = partial(click.option, cls=Option, section="Sensitivity")
data = partial(click.option, cls=Option, section="Data")
output = partial(click.option, cls=Option, section="Output")


class Command(click.Command):
    """A command whose options stand in sections, the common ones in `--help`.

    Options that it shares with other commands and does not take are `unread`: no help shows them. `texts` and
    `metavars` are its own for options that mean something else here, by parameter.
    """

    context_class = Context

    def __init__(
        self,
        name: str | None,
        *,
        unread: Collection[str] = (),
        texts: Mapping[str, str] = MappingProxyType({}),
        metavars: Mapping[str, str] = MappingProxyType({}),
        **attributes: Any,
    ) -> None:
        super().__init__(name, **attributes)
        for param in self.params:
            if isinstance(param, Option):
                param.hidden = param.hidden or param.name in unread
                param.help = texts.get(str(param.name), param.help)
                param.metavar = metavars.get(str(param.name), param.metavar)
        visible = [param for param in self.params if isinstance(param, Option) and not param.hidden]
        self._has_more = len(visible) > MOST_SHOWN and not all(map(_is_common, visible))
        self.params.append(help_all_option(hidden=not self._has_more))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WRITTEN] = words = self._renamed(args)
        return super().parse_args(ctx, list(words))

    def _renamed(self, args: Sequence[str]) -> list[str]:
        """`args` with present names in place of former ones."""
        present = {
            former: param.opts[0] for param in self.params if isinstance(param, Option) for former in param.formerly
        }
        found: list[str] = []
        for index, arg in enumerate(args):
            if arg == "--":
                return [*found, *args[index:]]
            name, equals, value = arg.partition("=")
            if name in present:
                warn(f"{name} is now called {present[name]}")
            found.append(f"{present.get(name, name)}{equals}{value}")
        return found

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Arguments stand in the sections too."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        documented = [param for param in self.get_params(ctx) if param.get_help_record(ctx) is not None]
        everything = not self._has_more or ctx.meta.get(EVERYTHING)
        shown = [param for param in documented if everything or _is_common(param)]
        shown.sort(key=lambda param: not _is_common(param))
        records = [(_section(param), param.get_help_record(ctx) or ("", "")) for param in shown]
        width = min(TERM_WIDTH, max(len(term) for _, (term, _) in records))
        for section in SECTIONS:
            if rows := [(f"{term:<{width}}", text) for where, (term, text) in records if where == section]:
                with formatter.section(section):
                    formatter.write_dl(rows)
        if len(shown) < len(documented):
            formatter.write_paragraph()
            formatter.write_text(f"{len(documented) - len(shown)} more options: {ctx.command_path} --help-all")


class CommandGroup(click.Group):
    """Commands in the style of these, under one name; its own `--help` shows everything."""

    context_class = Context
    command_class = Command

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params.append(help_all_option(hidden=True))


def _is_common(param: click.Parameter) -> bool:
    return not isinstance(param, Option) or param.common


def help_all_option(*, hidden: bool = False) -> click.Option:
    """`--help-all`; `hidden` where `--help` shows everything."""
    return Option(
        ("--help-all",),
        section="Help",
        common=True,
        hidden=hidden,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_everything,
        help="Show all options and exit.",
    )


def _print_everything(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        ctx.meta[EVERYTHING] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


def _section(param: click.Parameter) -> str:
    if isinstance(param, Option):
        return param.section
    return "Model" if isinstance(param, click.Argument) else "Help"
