"""What `--json` prints: one strict JSON object. NaN and infinity do not exist in JSON; they become null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploykit.results.row import Row

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What every row of a table shares, stated above it. Empty text is left out.

    `weights` says where they came from (`WeightsOrigin.facts`), `fusions` which rewrites the graphs have where those
    are not the default ones. `inputs` describes the timed input tensors, `preprocessing` how images became them and who
    says so, `int8` what gave INT8 its ranges and its layers, `copies` whether transfers are inside the
    timed region, `stopped_by` what ended the measurement.

    Under `bench --mode`: what one `step` does, its `loss` where it has one, and how many steps were burn-in and timed.
    """

    model: str
    batch: int
    threads: int
    tf32: bool
    weights: str = ""
    weights_digest: str | None = None
    weights_notes: tuple[str, ...] = ()
    fusions: str = ""
    inputs: str = ""
    preprocessing: str = ""
    int8: str = ""
    copies: str = ""
    stopped_by: str = ""
    rounds: int = 0
    seconds: float = 0.0
    step: str = ""
    loss: str = ""
    burn_in: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """A table of rows, the conditions they share, and the machine's fingerprint."""

    conditions: Conditions
    environment: Mapping[str, Any]
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """The documented shape of `bench` and `verify`; the conditions stand in the environment as `conditions`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "environment": {**self.environment, "conditions": asdict(self.conditions)},
            "rows": [row.as_json() for row in self.rows],
        }


def to_json(document: Mapping[str, Any]) -> str:
    """One object, indented by two spaces, lists of numbers on one line. Paths are text, NumPy scalars numbers."""
    return _dump(_plain(document), "")


def _plain(value: Any) -> Any:
    """The value in JSON's own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # a NumPy scalar or array
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _dump(value: Any, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        items = (f"{deeper}{json.dumps(key)}: {_dump(item, deeper)}" for key, item in value.items())
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if _nested(value):
        return "[\n" + ",\n".join(deeper + _dump(item, deeper) for item in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


def _nested(value: Any) -> bool:
    return isinstance(value, Sequence) and any(isinstance(item, (dict, list)) for item in value)
