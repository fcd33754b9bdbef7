"""Results as pages: one self-contained HTML file each."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit.api.workspace import path_of
from deploykit.errors import UsageError

if TYPE_CHECKING:
    from deploykit.report.html import Shown


def write_html(result: Shown, *, path: str | PathLike[str]) -> Path:
    """Write a result as a page: its tables, its charts and what it was measured on, in one file.

    The page loads nothing and runs no script. It is written whole or not at all.

    Args:
        result: What `bench`, `bench_steps`, `verify`, `evaluate`, `inspect` or `compare` returned.
        path: The file, which is replaced where it exists.

    Returns:
        The path.

    Raises:
        UsageError: The result has no page, or the file cannot be written.
    """
    from deploykit.io.files import write_text
    from deploykit.report.html import has_page, html_of

    if not has_page(result):
        raise UsageError(f"a {type(result).__name__} has no page", hint="give the result of bench, verify or inspect")
    return write_text(path_of("path", path), html_of(result))


def page_path(text: str) -> Path:
    """The path of a page to come. Raises UsageError for one that cannot be written, before any work is done for it."""
    from deploykit.io.files import require_writable

    return require_writable(Path(text))
