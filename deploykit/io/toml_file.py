"""TOML files that a user names: tables of GPUs, lists of images.

Python's parser goes as deep as the brackets do, and keeps every part of every dotted key, so a few megabytes can take
gigabytes and minutes. The depth of both is therefore told from the text, before it is parsed.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from deploykit import limits
from deploykit.errors import UntrustedArtifact
from deploykit.io.door import read_file

# Strings and comments, ended or not. Possessive, so that no text makes the search go back.
SILENT = re.compile(
    r'"""(?:\\.|(?!""").)*+(?:"{3,5})?|\'\'\'(?:(?!\'\'\').)*+(?:\'{3,5})?|"(?:\\.|[^"\\\n])*+"?|\'[^\'\n]*+\'?|#[^\n]*+',
    re.DOTALL,
)
LARGEST_NUMBER = 2**63


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """What a TOML file says; `kind` names it in an error.

    Raises UsageError where there is no such file, and UntrustedArtifact where it is no TOML, longer than
    `limits.LIST_BYTES`, deeper than `limits.NESTING`, or has a whole number of more than 64 bits.
    """
    content = read_file(path, kind, limit=limits.LIST_BYTES)
    try:
        text = content.decode("utf-8")
        _require_flat(text, path, kind)
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or a number without end
        raise UntrustedArtifact(f"{kind} {path} is not valid TOML: {error}", hint="check its syntax") from error
    _require_numbers(found, path, kind)
    return found


def _require_flat(text: str, path: Path, kind: str) -> None:
    most = limits.NESTING.value
    plain = SILENT.sub("s", text)
    too_deep = UntrustedArtifact(f"{kind} {path} is nested deeper than {most} levels", hint=limits.NESTING.hint)
    if re.search(rf"(?<![\w.-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{most},}}", plain):
        raise too_deep
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", plain):
        depth = max(0, depth + (1 if bracket[0] in "[{" else -1))
        if depth > most:
            raise too_deep
    if (parts := sum(map(plain.count, "[{."))) > 2 * limits.ROWS.value:
        raise UntrustedArtifact(f"{kind} {path} has {parts} tables, lists and parts of keys", hint=limits.ROWS.hint)


def _require_numbers(found: Any, path: Path, kind: str) -> None:
    match found:
        case dict():
            for each in found.values():
                _require_numbers(each, path, kind)
        case list():
            for each in found:
                _require_numbers(each, path, kind)
        case int() if abs(found) > LARGEST_NUMBER:
            raise UntrustedArtifact(
                f"{kind} {path} has a whole number of more than 64 bits", hint="write a smaller number"
            )
