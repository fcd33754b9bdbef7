"""One thing that was looked at."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`detail` is what was found, `fix` what to do where it is missing and wanted, a line to paste where there is one.

    `backends` names the backends that it matters to; empty for all.
    """

    subject: str
    state: State
    detail: str
    fix: str = ""
    backends: tuple[str, ...] = ()

    def matters_to(self, backend: str) -> bool:
        """Whether it says something about `backend`."""
        return not self.backends or backend in self.backends
