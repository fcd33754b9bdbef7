"""Which files a network from elsewhere is made of, read without running them.

A change in any of them makes another network, so they belong into the key of whatever is made from it. The package of
the factory counts whole, and so does every module beside it that these files import; what they import from installed
distributions counts by its version (`imported_names`). Importing this module imports no torch.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from deploykit.errors import UsageError

SUFFIXES = (".py", ".toml")
INSTALLED = ("site-packages", "dist-packages")


def files_behind(modules: Iterable[str]) -> set[Path]:
    """The `*.py` and `*.toml` of the packages (or the single modules) of `modules`, and of their neighbors.

    Raises UsageError where there is no such module.
    """
    pending = {module.partition(".")[0] for module in modules}
    seen: set[str] = set()
    files: set[Path] = set()
    while pending:
        package = pending.pop()
        seen.add(package)
        found = _find(package)
        if found is None:
            raise UsageError(f"there is no module {package!r}", hint="install it, or run where it lies")
        own = set(_files(found))
        files |= own
        folder = _folder(found)
        if folder is not None and folder.name not in INSTALLED:
            pending |= {name for name in imported_names(own) - seen if _folder(_find(name)) == folder}
    return files


def imported_names(files: Iterable[Path]) -> set[str]:
    """The top-level names that Python files import, wherever in them; neither the standard library's nor deploykit."""
    names = {name for path in files if path.suffix == ".py" for name in _imports(path, path.stat().st_mtime_ns)}
    return names - sys.stdlib_module_names - {"deploykit"}


@cache
def _imports(path: Path, _stamp: int) -> frozenset[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # the import will say so
        return frozenset()
    named = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    return frozenset(name.partition(".")[0] for name in named if name)


def _find(package: str) -> ModuleSpec | None:
    try:
        return find_spec(package)
    except (ImportError, ValueError):
        return None


def _files(found: ModuleSpec) -> Iterator[Path]:
    if found.submodule_search_locations is None:
        yield from (Path(found.origin),) if found.origin and found.has_location else ()
    for folder in found.submodule_search_locations or ():
        yield from (path for path in Path(folder).rglob("*") if path.suffix in SUFFIXES and path.is_file())


def _folder(found: ModuleSpec | None) -> Path | None:
    """The folder of a top-level module or package."""
    if found is None:
        return None
    places = list(found.submodule_search_locations or ())
    if places:
        return Path(places[0]).parent
    return Path(found.origin).parent if found.origin and found.has_location else None
