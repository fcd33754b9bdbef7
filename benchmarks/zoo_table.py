"""What scripts about the whole zoo share: their command line, and a compiled plan in two figures."""

import argparse
import gc
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sources import footer

from deploykit.zoo.registry import cards


@dataclass(frozen=True, slots=True)
class Plan:
    kernels: int
    bytes_moved: int

    @property
    def mb(self) -> float:
        return self.bytes_moved / 1e6

    def __str__(self) -> str:
        return f"{self.kernels} / {self.mb:.1f}"

    def against(self, other: "Plan") -> str:
        """`worse` in either figure, else `better` in one, else `equal`."""
        if self.kernels > other.kernels or self.bytes_moved > other.bytes_moved:
            return "worse"
        return "equal" if self == other else "better"

    def change(self, other: "Plan") -> str:
        return f"{self.kernels - other.kernels:+d} / {100 * (self.mb / other.mb - 1):+.1f} %"


def run(script: str, about: str, of: Callable[[str], Any], page: Callable[[list[Any], str], str]) -> None:
    """Ask `of` about each network that the command line names; write or print `page` of the answers and the command."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--networks", default="*", help="names, with wildcards and commas between")
    parser.add_argument("--output", type=Path, help="Markdown file to write; default: stdout")
    options = parser.parse_args()
    wanted = options.networks.split(",")
    found = []
    for name in [card.name for card in cards().values() if not card.is_miniature]:
        if any(fnmatch(name, pattern) for pattern in wanted):
            found.append(of(name))
            print(found[-1], flush=True)
            gc.collect()
    command = f"python benchmarks/{script}" + (f" --networks '{options.networks}'" if options.networks != "*" else "")
    text = page(found, command)
    if options.output:
        options.output.write_text(text + footer(script.replace("_", "-").replace(".py", ".md")))
    else:
        print(text)
