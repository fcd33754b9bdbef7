"""What a pybind11 class says about its methods, read from their docstrings."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Signature:
    names: tuple[str, ...]  # without self
    required: int

    def takes(self, positional: int, keywords: set[str]) -> bool:
        left = set(self.names[positional:])
        return positional <= len(self.names) and keywords <= left and positional + len(keywords) >= self.required


def signatures(method: object) -> list[Signature]:
    """One per overload; empty where the docstring holds none."""
    name = getattr(method, "__name__", "")
    found = re.findall(rf"^(?:\d+\. )?{re.escape(name)}\((self: .*|)\) -> ", method.__doc__ or "", re.MULTILINE)
    return [_read(arguments) for arguments in found]


def _read(arguments: str) -> Signature:
    parts = _split(arguments)[1:]
    names = tuple(part.split(":")[0].strip() for part in parts)
    return Signature(names, sum(" = " not in part for part in parts))


def _split(text: str) -> list[str]:
    """Cut at commas outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
