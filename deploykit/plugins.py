"""What other packages add by entry points: found, and loaded so that a broken one costs itself and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deploykit.errors import one_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

log = logging.getLogger(__name__)


class PluginFault(Exception):
    """What is wrong with a plug-in, to be read behind its name, and `fix`, which names its package."""

    def __init__(self, point: EntryPoint, what: str) -> None:
        super().__init__(what)
        self.fix = fix_of(point)


def entry_points(group: str) -> dict[str, EntryPoint]:
    """The entry points of `group` by name, sorted; of two with one name the first on the path counts."""
    found: dict[str, EntryPoint] = {}
    for point in _all(group):
        found.setdefault(point.name, point)
    return dict(sorted(found.items()))


def load(point: EntryPoint) -> object:
    """What an entry point names. Raises PluginFault for whatever importing it raises."""
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise PluginFault(point, f"cannot import {point.value}: {said(error)}") from error


def call(point: EntryPoint, made: object) -> object:
    """What `made`, a class or function without arguments, makes. Raises PluginFault for whatever it raises."""
    if not callable(made):
        raise PluginFault(point, f"{point.value} is {kind_of(made)}, not a class or a function")
    try:
        return made()
    except (Exception, SystemExit) as error:
        raise PluginFault(point, f"{point.value} failed: {said(error)}") from error


def fix_of(point: EntryPoint) -> str:
    """What to do about a broken plug-in: the package that it came with."""
    try:
        package = f"package {point.dist.name} {point.dist.version}" if point.dist else "package without metadata"
    except Exception:  # noqa: BLE001 - its metadata may be as broken as its code
        package = "package with broken metadata"
    return f"it is a plug-in of the {package}: update or uninstall that"


def said(error: BaseException) -> str:
    """`ValueError: no such device`, in one line."""
    kind, text = type(error).__name__, one_line(error)
    return kind if text == kind else f"{kind}: {text}"


def kind_of(value: object) -> str:
    """What a value is, for a message: `None`, `a list`."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _all(group: str) -> Iterator[EntryPoint]:
    from importlib import metadata

    try:
        found = metadata.entry_points(group=group)
    except Exception:  # noqa: BLE001 - one malformed entry_points.txt on the path ends the search for all
        for distribution in metadata.distributions():
            yield from _of(distribution, group)
        return
    yield from found


def _of(distribution: object, group: str) -> Iterator[EntryPoint]:
    try:
        found = distribution.entry_points.select(group=group)  # type: ignore[attr-defined]
    except Exception as error:  # noqa: BLE001 - of this distribution alone
        log.warning("the entry points of %s cannot be read: %s", distribution, said(error))
        return
    yield from found
