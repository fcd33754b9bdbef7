"""What mkdocs calls while it builds the site (`hooks` in mkdocs.yml)."""

from typing import Any

NO_DEFAULT = "<code>Sentinel.UNSET</code>"  # how mkdocs-click 0.9 shows an option without a default under click 8.3


def on_page_content(html: str, **_: Any) -> str:
    """The reference of the command line, with empty cells for options that have no default."""
    return html.replace(NO_DEFAULT, "")
