"""A backend of another package: whatever its code raises costs its own rows, and the message names its package.

Errors of `deploykit.errors` pass as they are: by them a backend says what is wrong in its own words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from deploykit.backends.protocol import Backend, Engine, Session, Source
from deploykit.errors import BackendMissing, BuildFailed, DeploykitError, ExecutionFailed
from deploykit.plugins import PluginFault, call, fix_of, kind_of, load, said
from deploykit.spec import EngineSettings, Placement, Progress, Reason

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ATTRIBUTES: dict[str, type] = {"runs_module": bool, "compiles": bool, "libraries": tuple}
METHODS = ("unavailable", "supports", "build", "open")

T = TypeVar("T")


class PluginBackend:
    """The backend that an entry point names; one that cannot be loaded is never available, and says why.

    `made` is the plug-in's own object, None where there is none; `fault` is what its code did wrong so far.
    """

    runs_module = False
    compiles = False
    libraries: tuple[str, ...] = ()

    def __init__(self, point: EntryPoint) -> None:
        self.name = point.name
        self.made: Any = None
        self.fault: Reason | None = None
        self._fix = fix_of(point)
        try:
            self.made = _made(point)
        except PluginFault as error:
            self.fault = Reason(str(error), error.fix)
            return
        self.runs_module, self.compiles = self.made.runs_module, self.made.compiles
        self.libraries = tuple(self.made.libraries)

    @property
    def placement(self) -> Placement | None:
        """Raises BackendMissing where the plug-in's raises, or is none."""
        found = self._asked("placement", lambda: self._own().placement, BackendMissing)
        if found is not None and not isinstance(found, Placement):
            raise self._error(BackendMissing, f"its placement is {kind_of(found)}, not a Placement")
        return found

    def unavailable(self) -> Reason | None:
        if self.fault is not None:
            return self.fault
        return self._reason("unavailable()", lambda: self._own().unavailable())

    def supports(self, source: Source) -> Reason | None:
        return self._reason("supports()", lambda: self._own().supports(source))

    def build(self, source: Source, settings: EngineSettings, progress: Progress | None = None) -> Engine:
        found = self._asked("build()", lambda: self._own().build(source, settings, progress), BuildFailed)
        if not isinstance(found, Engine):
            raise self._error(BuildFailed, f"its build() returned {kind_of(found)}, not an Engine")
        return found

    def open(self, engine: Engine, *, threads: int = 0) -> Session:
        found = self._asked("open()", lambda: self._own().open(engine, threads=threads), ExecutionFailed)
        if lacking := [name for name in ("run", "bind", "__enter__", "__exit__") if not hasattr(found, name)]:
            raise self._error(ExecutionFailed, f"its open() returned {kind_of(found)}, without {lacking[0]}")
        return found

    def _own(self) -> Backend:
        """The plug-in's own object. Raises BackendMissing where it could not be loaded."""
        if self.fault is not None:
            raise BackendMissing(f"backend {self.name} cannot be used here: {self.fault.what}", hint=self.fault.fix)
        return cast(Backend, self.made)

    def _reason(self, what: str, ask: Callable[[], Reason | None]) -> Reason | None:
        try:
            found = ask()
        except DeploykitError as error:
            return Reason(error.message, error.hint)
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plug-in raises what it likes
            self.fault = Reason(f"its {what} failed: {said(error)}", self._fix)
            return self.fault
        if found is not None and not isinstance(found, Reason):
            self.fault = Reason(f"its {what} returned {kind_of(found)}, not a Reason or None", self._fix)
            return self.fault
        return found

    def _asked(self, what: str, ask: Callable[[], T], kind: type[DeploykitError]) -> T:
        try:
            return ask()
        except (DeploykitError, MemoryError):
            raise
        except (Exception, SystemExit) as error:
            raise self._error(kind, f"its {what} failed: {said(error)}") from error

    def _error(self, kind: type[DeploykitError], what: str) -> DeploykitError:
        return kind(f"backend {self.name}: {what}", hint=self._fix)


def _made(point: EntryPoint) -> object:
    """The plug-in's object, which has what a backend has. Raises PluginFault."""
    made = call(point, load(point))
    for name, kind in ATTRIBUTES.items():
        try:
            found = getattr(made, name)
        except Exception as error:
            raise PluginFault(point, f"{point.value} makes {kind_of(made)} without {name}: {said(error)}") from error
        if not isinstance(found, kind):
            raise PluginFault(point, f"its {name} is {kind_of(found)}, not a {kind.__name__}")
    if lacking := [name for name in METHODS if not callable(getattr(made, name, None))]:
        raise PluginFault(point, f"{point.value} makes {kind_of(made)} without {lacking[0]}()")
    return made
