"""Where the functions of the API work: one store, silent unless asked, warnings as Python warns."""

from __future__ import annotations

import sys
import warnings
from os import PathLike, fspath
from pathlib import Path

from deploykit.errors import PACKAGE, DeploykitWarning, UsageError
from deploykit.spec import Progress, silent
from deploykit.store import Store
from deploykit.workflow.workspace import Workspace

StorePath = str | PathLike[str] | None


def open_workspace(store: StorePath, progress: Progress | None) -> Workspace:
    """One over `store` (None: $DEPLOYKIT_STORE, else `engines`)."""
    return Workspace(open_store(store), progress or silent, warn)


def open_store(store: StorePath) -> Store:
    """Raises UsageError for what is not a path, StoreFailed for a folder that cannot be a store."""
    if store is None:
        return Store.open()
    return Store.open(path_of("store", store, hint="give a folder, or None"))


def path_of(what: str, given: object, *, hint: str = "give a path") -> Path:
    """Raises UsageError for what is no path, or one that no file can have."""
    text = fspath(given) if isinstance(given, str | PathLike) else None
    if not isinstance(text, str):
        raise UsageError(f"{what} is a {type(given).__name__}, not a path", hint=hint)
    if "\0" in text:
        raise UsageError(f"{what} {text!r} holds a null character", hint=hint)
    return Path(text)


def warn(text: str, category: type[DeploykitWarning] = DeploykitWarning) -> None:
    """As a warning of the caller's own line, whatever the depth in deploykit that it is noticed at."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
