"""What a pybind11 class says about its methods, read from their docstrings."""

import inspect
import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Signature:
    names: tuple[str, ...]  # without self
    required: int
    returns: str = field(default="", compare=False)  # the last part of the type's name

    def takes(self, positional: int, keywords: set[str]) -> bool:
        left = set(self.names[positional:])
        return positional <= len(self.names) and keywords <= left and positional + len(keywords) >= self.required

    def __str__(self) -> str:
        optional = (f"{name}=..." for name in self.names[self.required :])
        return f"({', '.join((*self.names[: self.required], *optional))})"


def signatures(method: object) -> list[Signature]:
    """One per overload; empty where the docstring holds none. Of a function of Python's, its own."""
    if inspect.isfunction(method):
        parameters = inspect.signature(method).parameters
        needed = sum(each.default is inspect.Parameter.empty for each in parameters.values())
        return [Signature(tuple(parameters), needed)]
    name = getattr(method, "__name__", "")
    pattern = rf"^(?:\d+\. )?{re.escape(name)}\((self: .*|)\) -> (.*)$"
    found = re.findall(pattern, getattr(method, "__doc__", None) or "", re.MULTILINE)
    return [_read(arguments, returns) for arguments, returns in found]


def _read(arguments: str, returns: str) -> Signature:
    parts = _split(arguments)[1:]
    names = tuple(part.split(":")[0].strip() for part in parts)
    return Signature(names, sum(" = " not in part for part in parts), re.split(r"\.|::", returns.strip())[-1])


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
