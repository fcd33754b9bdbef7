"""The scenarios of MLPerf's load generator."""

from collections.abc import Iterable
from typing import Literal, get_args

from deploykit.errors import UnknownName

Scenario = Literal["single-stream", "multi-stream", "server", "offline"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)


def parse_scenarios(names: str | Iterable[str]) -> tuple[Scenario, ...]:
    """`"server,offline"` or several names, each once. Raises UnknownName."""
    parts = names.split(",") if isinstance(names, str) else names
    known: dict[str, Scenario] = {each: each for each in SCENARIOS}
    found = []
    for name in filter(None, (part.strip().lower() for part in parts)):
        if name not in known:
            raise UnknownName("scenario", name, SCENARIOS)
        found.append(known[name])
    return tuple(dict.fromkeys(found))
