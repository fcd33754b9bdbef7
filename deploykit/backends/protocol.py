"""The two roles of a backend, build and open, and the values that pass between them.

A `Source` is what a backend builds from: the PyTorch module (as a recipe that another process can follow) or the typed
ONNX graph, either of which knows its precision. `Backend.build` turns it into an `Engine`, a plain picklable value;
`Backend.open` turns an engine into a `Session`, perhaps in another process.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from numpy import ndarray

from deploykit.plan.model import EnginePlan
from deploykit.plan.summary import PlanSummary
from deploykit.spec import EngineSettings, Feed, ModelSpec, Placement, Precision, Progress, Reason, TensorSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """A recipe for the PyTorch module: build the network and put the state in `weights` into it (`modules.state`).

    A live module is in the file `pickled` for other processes; where that is None, `obstacle` says why. `precision` is
    what it is to be run in; the state is float32.
    """

    model: ModelSpec
    weights: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    pickled: Path | None = None
    obstacle: Reason | None = None
    precision: Precision = Precision.FP32

    def at(self, precision: Precision) -> "ModuleSource":
        """The same module, to be run in `precision`."""
        return replace(self, precision=precision)

    def load(self) -> "nn.Module":
        """The module in eval mode, float32, on the CPU.

        Raises UsageError for a factory that makes another network, BackendMissing for a live module that this process
        cannot have.
        """
        if self.model.live:
            from deploykit.modules.live import load

            return load(self.model.live, self.pickled, self.obstacle)
        from deploykit.weights import restored_module

        return restored_module(self.model, self.weights)


@dataclass(frozen=True, slots=True)
class TypedGraph:
    """An ONNX file whose types are the precision: what every backend compiles."""

    path: Path
    digest: str
    precision: Precision
    placement: str | None  # the INT8 Q/DQ scheme's name
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


Source = ModuleSource | TypedGraph


def typed_or_reason(source: Source, builder: str) -> TypedGraph | Reason:
    """`source` where it is a typed graph, else why `builder` ("TensorRT compiles") cannot do without one."""
    return source if isinstance(source, TypedGraph) else Reason(f"{builder} a typed graph, and this is a module")


@dataclass(frozen=True, slots=True)
class Engine:
    """What `build` made. `reason` is None when it can run here; else it was only compiled, and that is why.

    `flavour` is library, version and provider. `note` says where the row computes in another type than its name.
    `careful` is None where the backend opens an engine in one way only. False: where a session crashes its process, the
    row is tried once more with True, which leaves out what the library can do without, its optimizer above all.
    `content` is the serialized engine fresh from the compiler, `path` where the store keeps it; `log` is the build log.
    `layers` is what was compiled, fresh from the compiler; `plan` is its summary, None where
    the backend has none.
    """

    backend: str
    flavour: str
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    reason: Reason | None = None
    note: str = ""
    careful: bool | None = None
    module: ModuleSource | None = None
    path: Path | None = None
    typed_digest: str | None = None
    plan: PlanSummary | None = None
    layers: EnginePlan | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    log: str = field(default="", repr=False)


class Bound(Protocol):
    """Inputs and outputs in place: nothing is copied between `launch` and `synchronize`."""

    def launch(self) -> None:
        """Start one inference; may return before it is done."""
        ...

    def synchronize(self) -> None:
        """Wait for every launch."""
        ...

    def device_ms(self) -> float | None:
        """Device time of the last finished launch, milliseconds, by device events; None on the CPU."""
        ...


class FetchableBound(Bound, Protocol):
    """A binding whose outputs can be copied to the host."""

    def fetch(self) -> dict[str, "ndarray[Any, Any]"]:
        """The outputs of the last finished launch, by name."""
        ...


class Session(Protocol):
    """An engine that is open: a context manager, which frees what it holds when it is left.

    `inputs` and `outputs` name its arrays with shape and type. `remark`, where a session has it, says the caveat
    that its row shows; "" for none.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, feed: Feed) -> dict[str, "ndarray[Any, Any]"]:
        """Host arrays in, host arrays out, synchronous. Raises InvalidFeed, DeviceOutOfMemory, ExecutionFailed."""
        ...

    def bind(self, feed: Feed) -> FetchableBound:
        """Copy the inputs where the device reads them and return something to time. Raises as `run`."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Backend(Protocol):
    """What makes engines and opens sessions on them; one object serves a whole process."""

    name: str
    runs_module: bool  # builds from a ModuleSource, where the network has one; else from a TypedGraph
    compiles: bool  # `build` makes content that is worth keeping in the store
    libraries: tuple[str, ...]  # distributions whose versions decide what `build` makes: they join the store's key

    @property
    def placement(self) -> Placement | None:
        """How this backend wants INT8 expressed; None when it has no INT8 graph."""
        ...

    def unavailable(self) -> Reason | None:
        """Why nothing can be built here, with the command that changes it; None when it can. Imports no framework."""
        ...

    def supports(self, source: Source) -> Reason | None:
        """None when `build` can take this; asked before any work starts.

        A typed graph that is still to be made is stood in for by the optimized one at its precision.
        """
        ...

    def build(self, source: Source, settings: EngineSettings, progress: Progress | None = None) -> Engine:
        """The engine of `source`. Raises BackendMissing for what `supports` rejects, BuildFailed.

        Whoever calls it has asked `unavailable`, once, and does not ask again.
        """
        ...

    def open(self, engine: Engine, *, threads: int = 0) -> Session:
        """A session on `threads` CPU threads (0: one per core). Raises BackendMissing where the engine cannot run."""
        ...
