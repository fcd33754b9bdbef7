"""How a command answers: its result on stdout, warnings on stderr."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

import click

from deploykit.errors import DeploykitWarning, UnreadOption
from deploykit.quote import quoted, shown

if TYPE_CHECKING:
    from deploykit.report.html import Shown

Result = TypeVar("Result")
Page = TypeVar("Page", bound="Shown")


def answer(found: Result, describe: Callable[[Result], Mapping[str, str]], *, as_json: bool) -> None:
    """Print one JSON object, or the lines that `describe` makes of it."""
    from deploykit.report.text import render_facts
    from deploykit.results.document import to_json

    if as_json:
        click.echo(to_json(found))
    else:
        render_facts(describe(found))


def present(found: "Page", render: "Callable[[Page], None]", *, as_json: bool, html: Path | None) -> None:
    """The result on stdout, and as a page where one is asked for: neither is lost where the other cannot be written."""
    from deploykit.results.document import to_json

    try:
        if html is not None:
            from deploykit.api import write_html

            write_html(found, path=html)
    finally:
        if as_json:
            click.echo(to_json(found))
        else:
            render(found)


def _lines(text: object) -> str:
    return "\n".join(map(shown, str(text).splitlines()))


def _make_logs_printable() -> None:
    """Of loggers that nobody gave a handler, as libraries leave theirs."""
    import logging

    class Printable(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return _lines(super().format(record))

    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Printable())


def warn(text: str) -> None:
    """One line on stderr, beside the progress and never among the results."""
    click.echo(f"deploykit: warning: {quoted(text)}", err=True)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Each warning of the API is one line on stderr; what libraries warn of, or log, has no control characters."""
    _make_logs_printable()
    with warnings.catch_warnings():
        warnings.simplefilter("always", DeploykitWarning)
        shown_elsewhere = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, UnreadOption):
                return  # cli.idle says it with the names of the options
            if issubclass(category, DeploykitWarning):
                warn(str(message))
            else:
                shown_elsewhere(_lines(message), category, filename, lineno, file, line)

        warnings.showwarning = show
        yield
