"""Where the functions of the API work: one store, silent unless asked, warnings as Python warns."""

from __future__ import annotations

import sys
import warnings
from os import PathLike
from pathlib import Path

from deploykit.errors import PACKAGE, DeploykitWarning
from deploykit.spec import Progress, silent
from deploykit.store import Store
from deploykit.workflow.workspace import Workspace

StorePath = str | PathLike[str] | None


def open_workspace(store: StorePath, progress: Progress | None) -> Workspace:
    """One over `store` (None: $DEPLOYKIT_STORE, else `engines`)."""
    return Workspace(Store.open(Path(store) if store is not None else None), progress or silent, warn)


def warn(text: str, category: type[DeploykitWarning] = DeploykitWarning) -> None:
    """As a warning of the caller's own line, whatever the depth in deploykit that it is noticed at."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
