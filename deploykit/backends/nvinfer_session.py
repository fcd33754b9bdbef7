"""Running and inspecting an engine of TensorRT or TensorRT-RTX; which of the two is the imported module, `trt`.

One session has one execution context on one stream. Each bound feed has device memory of its own, so that several
can be launched in turn without a copy; `run` keeps one bound feed for itself, whose memory only grows.
"""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from math import prod
from types import TracebackType
from typing import Any, Self

import numpy as np

from deploykit.backends.cuda import PrimaryContext
from deploykit.backends.feed import check_feed
from deploykit.backends.nvinfer import created, held_back, new_log
from deploykit.backends.protocol import Engine
from deploykit.errors import BackendMissing, DeviceOutOfMemory, ExecutionFailed, InvalidFeed, UntrustedArtifact
from deploykit.spec import Feed, TensorSpec
from deploykit.spec.arrays import Array

PROFILE = 0  # deploykit builds one optimization profile
SMALLEST_BUFFER = 256  # bytes; the driver aligns to this anyway

Shape = tuple[int, ...]


class NvinferSession:
    """An engine on the first GPU. Open and close it on one thread; as a context manager it gives every byte back.

    Raises ExecutionFailed where the engine does not load, DeviceOutOfMemory where the GPU is too small for it,
    UntrustedArtifact where its tensors are not those that its manifest names.
    """

    def __init__(self, trt: Any, engine: Engine) -> None:
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self._attached: weakref.ref[NvinferBound] | None = None
        self._shapes: dict[str, Shape] = {}  # of the inputs, as the execution context holds them
        self._bounds: weakref.WeakSet[NvinferBound] = weakref.WeakSet()
        self._log = new_log(trt)
        self._runtime: Any = None
        self._plan: Any = None
        self.context: Any = None
        self.cuda = PrimaryContext()
        self._open = True
        try:
            with self.cuda.current(), held_back():
                self._load(trt, _content(engine))
            self._own = self._new_bound()
        except BaseException as error:
            self._close_after(error)
            raise

    def run(self, feed: Feed) -> dict[str, Array]:
        self._check(feed)
        with self.current():
            self._own.load(feed)
            self._own.enqueue()
            return self._own.fetch()

    def bind(self, feed: Feed) -> "NvinferBound":
        self._check(feed)
        bound = self._new_bound()
        with self.current():
            try:
                bound.load(feed)
                self.cuda.synchronize()
            except BaseException:
                bound.free()
                raise
        return bound

    def close(self) -> None:
        """Wait for the device, free its memory, release the primary context. A second call does nothing.

        Raises ExecutionFailed where the device reports an error; everything has been given back then too.
        """
        if not self._open:
            return
        self._open = False
        with ExitStack() as last_to_first:
            last_to_first.callback(self.cuda.close)
            last_to_first.enter_context(self.cuda.current())
            last_to_first.callback(self._free)
            self.cuda.synchronize()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._close_after(error)

    def current(self) -> AbstractContextManager[None]:
        """The device's context made current. Raises ExecutionFailed when the session is closed."""
        if not self._open:
            raise ExecutionFailed("this session is closed", hint="open the engine again")
        return self.cuda.current()

    def holds(self, bound: "NvinferBound") -> bool:
        """Whether the execution context holds the shapes and addresses of `bound`."""
        return self._attached is not None and self._attached() is bound

    def attach(self, bound: "NvinferBound | None") -> None:
        self._attached = None if bound is None else weakref.ref(bound)

    def set_shapes(self, shapes: Mapping[str, Shape]) -> None:
        """Set the input shapes that differ from those in place: each one set makes TensorRT infer all shapes again."""
        for name, shape in shapes.items():
            if self._shapes.pop(name, None) != shape and not self.context.set_input_shape(name, shape):
                raise self.failure(f"TensorRT does not take input {name!r} of shape {shape}")
            self._shapes[name] = shape

    def failure(self, what: str) -> ExecutionFailed:
        """The error to raise when TensorRT answers no; its own words are in the log."""
        complaint = self._log.complaint()
        out_of_memory = "outofmemory" in complaint.lower().replace(" ", "").replace("_", "")
        return (DeviceOutOfMemory if out_of_memory else ExecutionFailed)(f"{what}: {complaint}")

    def _free(self) -> None:
        for bound in list(self._bounds):
            bound.free()
        self.context = None  # TensorRT's objects in the opposite order of their making
        self._plan = None
        self._runtime = None

    def _close_after(self, first: BaseException) -> None:
        """Close because of `first`, which stays the one to be raised: what fails now is most likely its consequence."""
        try:
            self.close()
        except ExecutionFailed as consequence:
            first.add_note(f"and then, while the session was closed: {consequence}")

    def _load(self, trt: Any, content: bytes) -> None:
        self._runtime = created(self._log, "runtime", lambda: trt.Runtime(self._log))
        self._plan = self._runtime.deserialize_cuda_engine(content)
        if self._plan is None:
            raise self.failure("TensorRT could not load the engine")
        self._check_tensors(trt)
        self.ranges = {spec.name: _range(self._plan, spec) for spec in self.inputs}
        self.context = self._plan.create_execution_context()
        if self.context is None:
            raise self.failure("TensorRT could not make an execution context")

    def _check_tensors(self, trt: Any) -> None:
        """Tensors of another type or name than the manifest's would be read as garbage."""
        plan = self._plan
        names = [plan.get_tensor_name(index) for index in range(plan.num_io_tensors)]
        found = {
            (
                name,
                plan.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
                np.dtype(trt.nptype(plan.get_tensor_dtype(name))),
            )
            for name in names
        }
        promised = {(spec.name, spec in self.inputs, np.dtype(spec.dtype)) for spec in (*self.inputs, *self.outputs)}
        if found != promised:
            wrong = ", ".join(sorted({name for name, _, _ in found ^ promised}))
            raise UntrustedArtifact(
                f"the engine's tensors are not those of its manifest: {wrong}", hint="build it again"
            )

    def _new_bound(self) -> "NvinferBound":
        bound = NvinferBound(self)
        self._bounds.add(bound)
        return bound

    def _check(self, feed: Feed) -> None:
        check_feed(self.inputs, feed)
        for name, (low, high) in self.ranges.items():
            shape = feed[name].shape
            if not all(least <= size <= most for least, size, most in zip(low, shape, high, strict=True)):
                raise InvalidFeed(
                    f"input {name!r} has shape {tuple(shape)}, outside the engine's profile {low} to {high}",
                    hint="feed a batch in that range, or build with a wider --batch min:opt:max",
                )


class NvinferBound:
    """One feed on the device: its inputs, room for its outputs, and two events around the compute."""

    def __init__(self, session: NvinferSession) -> None:
        self._session = session
        self._buffers: dict[str, _Buffer] = {}
        self._shapes: dict[str, Shape] = {}  # of inputs and outputs
        self._started: Any = None
        self._ended: Any = None

    def launch(self) -> None:
        with self._session.current():
            self.enqueue()

    def synchronize(self) -> None:
        with self._session.current():
            self._session.cuda.synchronize()

    def device_ms(self) -> float | None:
        with self._session.current():
            self._ended.synchronize()
            return float(self._started.time_till(self._ended))

    def load(self, feed: Feed) -> None:
        """Copy the feed in and point the context at it. The context must be current, as for all that follows."""
        session = self._session
        session.attach(None)
        if self._started is None:
            self._started, self._ended = session.cuda.event(), session.cuda.event()
        for spec in session.inputs:
            array = feed[spec.name]
            buffer = self._reserve(spec, array.shape)
            np.copyto(buffer.view(array.shape, array.dtype), array)
            session.cuda.copy_in(buffer.device, buffer.host[: array.nbytes])
        self._set_shapes()
        for spec in session.outputs:
            shape = tuple(session.context.get_tensor_shape(spec.name))
            if -1 in shape:
                raise ExecutionFailed(f"the shape of output {spec.name!r} depends on the data, not only on the input")
            self._reserve(spec, shape)
        self._attach()

    def enqueue(self) -> None:
        session = self._session
        if not session.holds(self):
            self._attach()
        session.cuda.record(self._started)
        if not session.context.execute_async_v3(session.cuda.stream_handle()):
            raise session.failure("TensorRT could not run the engine")
        session.cuda.record(self._ended)

    def fetch(self) -> dict[str, Array]:
        """The outputs, copied to the host. Waits for the device."""
        session = self._session
        views: dict[str, Array] = {}
        for spec in session.outputs:
            buffer, shape = self._buffers[spec.name], self._shapes[spec.name]
            views[spec.name] = buffer.view(shape, np.dtype(spec.dtype))
            session.cuda.copy_out(buffer.host[: views[spec.name].nbytes], buffer.device)
        session.cuda.synchronize()
        return {name: view.copy() for name, view in views.items()}

    def free(self) -> None:
        """Give the memory back; the bound feed is of no use afterwards."""
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()
        self._started = self._ended = None
        if self._session.holds(self):
            self._session.attach(None)

    def _attach(self) -> None:
        """Point the context at this feed. It is timed with the launch when feeds take turns: no more than it must."""
        session, context = self._session, self._session.context
        session.attach(None)
        self._set_shapes()
        for name, buffer in self._buffers.items():
            if not context.set_tensor_address(name, int(buffer.device)):
                raise session.failure(f"TensorRT does not take an address for {name!r}")
        session.attach(self)

    def _set_shapes(self) -> None:
        self._session.set_shapes({spec.name: self._shapes[spec.name] for spec in self._session.inputs})

    def _reserve(self, spec: TensorSpec, shape: Shape) -> "_Buffer":
        buffer = self._buffers.setdefault(spec.name, _Buffer(self._session.cuda))
        buffer.reserve(max(SMALLEST_BUFFER, prod(shape) * np.dtype(spec.dtype).itemsize))
        self._shapes[spec.name] = tuple(shape)
        return buffer


class _Buffer:
    """Device memory and as much pinned host memory. It grows when it must and never shrinks."""

    def __init__(self, cuda: PrimaryContext) -> None:
        self._cuda = cuda
        self.device: Any = None
        self.host: Array = np.empty(0, np.uint8)

    def reserve(self, size: int) -> None:
        if size <= self.host.nbytes:
            return
        self.free()
        self.device = self._cuda.device_memory(size)
        self.host = self._cuda.pinned_memory(size)

    def view(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        return self.host[: prod(shape) * dtype.itemsize].view(dtype).reshape(shape)

    def free(self) -> None:
        if self.device is not None:
            self.device.free()
            self.device = None
        if self.host.nbytes:
            self._cuda.free_pinned(self.host)
            self.host = np.empty(0, np.uint8)


def inspect_engine(trt: Any, content: bytes, *, batch: int | None = None) -> str:
    """What TensorRT's engine inspector says of an engine, as JSON (`plan.inspector` reads it). Needs a GPU.

    TensorRT 10 tells no types of an engine with dynamic shapes unless a context holds the shapes: here those of the
    profile's optimum, with `batch` on the first axis where given. Where a context silences it, it is asked without one.
    Raises ExecutionFailed where the engine does not load or does not take the batch.
    """
    log = new_log(trt)
    with held_back():
        runtime = created(log, "runtime", lambda: trt.Runtime(log))
        plan = runtime.deserialize_cuda_engine(content)
        context = plan.create_execution_context() if plan is not None else None
        if context is None:
            raise ExecutionFailed(f"TensorRT could not load the engine: {log.complaint()}")
        for name, shape in _shapes_to_inspect(trt, plan, batch):
            if not context.set_input_shape(name, shape):
                raise ExecutionFailed(f"TensorRT does not take input {name!r} of shape {shape}: {log.complaint()}")
        inspector = plan.create_engine_inspector()
        inspector.execution_context = context
        said = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        if not said:
            inspector = plan.create_engine_inspector()
            said = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return str(said)


def _shapes_to_inspect(trt: Any, plan: Any, batch: int | None) -> Iterator[tuple[str, Shape]]:
    """The inputs whose shape is not fixed, each with the one to look at."""
    for name in (plan.get_tensor_name(index) for index in range(plan.num_io_tensors)):
        shape = tuple(plan.get_tensor_shape(name))
        if -1 not in shape or plan.get_tensor_mode(name) != trt.TensorIOMode.INPUT:
            continue
        _, optimum, _ = plan.get_tensor_profile_shape(name, PROFILE)
        first = batch if batch is not None and shape[0] == -1 else optimum[0]
        yield name, (first, *tuple(optimum)[1:])


def _content(engine: Engine) -> bytes:
    if engine.content is not None:
        return engine.content
    if engine.path is None:
        raise BackendMissing("this engine has no content", hint="build it again")
    return engine.path.read_bytes()


def _range(plan: Any, spec: TensorSpec) -> tuple[Shape, Shape]:
    """The smallest and the largest shape that the engine takes for an input."""
    shape = tuple(plan.get_tensor_shape(spec.name))
    if -1 not in shape:
        return shape, shape
    low, _, high = plan.get_tensor_profile_shape(spec.name, PROFILE)
    return tuple(low), tuple(high)
