"""What rows are asked for under MLPerf's load generator."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from deploykit.errors import UnknownName, UsageError

Scenario = Literal["single-stream", "multi-stream", "server", "offline"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
HIGHEST = 1e9  # queries a second, and milliseconds


@dataclass(frozen=True, slots=True)
class Load:
    """The scenarios in the order in which they were asked for, each once, and what a server is sent.

    That is `qps` queries a second, 99 % of which are to be answered in `bound_ms` milliseconds. None: 70 % of the rate
    that whole batches reach, and five times the time of a batch.
    """

    scenarios: tuple[Scenario, ...] = ()
    qps: float | None = None
    bound_ms: float | None = None

    def __post_init__(self) -> None:
        for name, value in {"rate": self.qps, "bound": self.bound_ms}.items():
            if value is None:
                continue
            if "server" not in self.scenarios:
                raise UsageError(f"the {name} of a server requires the scenario server", hint="add it to the scenarios")
            if not 0 < value < HIGHEST:
                raise UsageError(f"the {name} of a server is {value:g}", hint="give a finite number above 0")

    @classmethod
    def of(cls, names: str | Iterable[str], *, qps: float | None = None, bound_ms: float | None = None) -> "Load":
        """Raises UnknownName, and UsageError for a rate or a bound that nothing reads or that is none."""
        return cls(parse_scenarios(names), qps, bound_ms)


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
