"""The templates of a page: whatever stands in them is escaped, control characters too, for names are foreign text."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deploykit.quote import shown


def rendered(template: str, **context: object) -> Markup:
    """The template of that name with `context`, as text that is safe to stand in a page."""
    return Markup(_environment().get_template(template).render(context))  # noqa: S704 - it was escaped


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("deploykit.report"),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def _harmless(value: object) -> object:
    return value if isinstance(value, Markup) else shown(value)
