"""What a command printed with `--json`, read back into the type that it was written of.

A document does not say which command wrote it; each kind has keys that no other has. Everything else about it is
checked by `codec.decode`: whoever gives the file may have written anything into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast, get_args

from deploykit.codec import decode, parse
from deploykit.errors import UntrustedArtifact
from deploykit.results.accuracy import AccuracyReport
from deploykit.results.build import BuildResult
from deploykit.results.comparison import Report
from deploykit.results.document import SCHEMA_VERSION
from deploykit.results.inspection import InspectionDocument

Results = Report | AccuracyReport | InspectionDocument | BuildResult
Kind = Literal["bench", "verify", "evaluate", "inspect", "build"]
OURS = ", ".join(get_args(Kind))
HINT = f"give what {OURS} printed with --json"
AGAIN = "print it again with this version of deploykit"


def read_results(text: str | bytes, *, what: str) -> Results:
    """Results of `bench`, `verify`, `evaluate`, `inspect` or `build`; `what` names them in an error.

    Raises:
        UntrustedArtifact: The text is not JSON, not of deploykit, of another schema version, or malformed.
    """
    content = parse(text, what=what, hint=HINT)
    kind = _type_of(content)
    if kind is None:
        raise UntrustedArtifact(f"the {what} is not of {OURS}", hint=HINT)
    version = cast("Mapping[str, object]", content)["schema_version"]
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise UntrustedArtifact(f"the {what} has schema_version {version!r}, not {SCHEMA_VERSION}", hint=AGAIN)
    return decode(kind, content, what=what, hint=AGAIN, document=True)


def kind_of(results: Results) -> Kind:
    """The command that gives such results. Rows without any time are those of `verify`."""
    match results:
        case AccuracyReport():
            return "evaluate"
        case BuildResult():
            return "build"
        case InspectionDocument():
            return "inspect"
    return "bench" if any(row.samples_ns for row in results.rows) else "verify"


def _type_of(content: object) -> type[Results] | None:
    """By the keys that no other document has; None for what is none of them."""
    if not isinstance(content, dict) or "schema_version" not in content:
        return None
    if {"engine_digest", "plan"} <= content.keys():
        return BuildResult
    if {"kernels_by_type", "summary"} <= content.keys():
        return InspectionDocument
    environment = content.get("environment")
    if not isinstance(environment, dict) or "rows" not in content:
        return None
    conditions = environment.get("conditions")
    return AccuracyReport if isinstance(conditions, dict) and "network_classes" in conditions else Report
