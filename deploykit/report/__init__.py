"""Results as people and programs read them: rows, the table on stdout, one strict JSON object."""

from deploykit.report.document import SCHEMA_VERSION, Conditions, Report, to_json
from deploykit.report.row import Row, State

__all__ = ["SCHEMA_VERSION", "Conditions", "Report", "Row", "State", "to_json"]
