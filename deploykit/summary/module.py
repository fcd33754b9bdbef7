"""A PyTorch module, run once on the `meta` device: shapes without numbers.

Forward hooks tell which module is running, a dispatch mode sees each ATen operator that it comes down to. So branches,
functional calls and modules that are used several times come out as they are computed, not as they are declared.

A row is one call of a module without children. Convolutions and matrix products that a larger module calls itself
(`torch.nn.functional`) are rows too, and so are larger modules with parameters of their own.
"""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from deploykit.errors import DeploykitError, one_line
from deploykit.modules.calling import call
from deploykit.spec import TensorSpec
from deploykit.summary import aten
from deploykit.summary.field import Field, Shape, Untraceable, of_images
from deploykit.summary.rows import Convolution, LayerRow, Summary
from deploykit.summary.shapes import result_of

IMAGE_AXES = 4  # a batch of images


def of_module(make: Callable[[], nn.Module], inputs: Shape | tuple[TensorSpec, ...]) -> Summary:
    """The layers of the module that `make` returns, in eval mode, for one image (channels, height, width), or for all
    of its inputs; receptive fields are those in the first that has an image's shape.

    `make` is called with `meta` as the default device; a constructor that reads values of its tensors gets real ones.
    Raises DeploykitError where the module cannot be run on shapes alone.
    """
    module = _on_meta(make).eval()
    recorder = _Recorder(module)
    shown = _shown(inputs)
    images = next((tensor for tensor in shown.values() if tensor.dim() == IMAGE_AXES), None)
    if images is None:
        images = next(iter(shown.values()))
    shape = tuple(images.shape)
    recorder.fields[images] = of_images(shape)
    try:
        with torch.no_grad(), torch.device("meta"), recorder.watching(), recorder:
            call(module, shown)
    except Exception as error:  # whatever a foreign forward raises
        raise DeploykitError(
            f"{type(module).__name__} cannot be run on shapes alone: {one_line(error)}",
            hint="check its input's shape; a forward that reads values of tensors can be summarized as an .onnx file",
        ) from error
    return Summary(shape[1:], (*recorder.rows, *recorder.never_called()))


def _shown(inputs: Shape | tuple[TensorSpec, ...]) -> dict[str, Tensor]:
    """One of each input, on the meta device."""
    specs = [spec for spec in inputs if isinstance(spec, TensorSpec)]
    if specs:
        shapes = {spec.name: (spec.at_batch(1), getattr(torch, spec.dtype)) for spec in specs}
        return {name: torch.empty(shape, dtype=dtype, device="meta") for name, (shape, dtype) in shapes.items()}
    sizes = [size for size in inputs if isinstance(size, int)]
    return {"": torch.empty((1, *sizes), device="meta")}


def _on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    try:
        with torch.device("meta"):
            return make().to("meta")
    except Exception:  # noqa: BLE001 - a constructor that reads values fails in many ways; other faults come up again
        with torch.random.fork_rng(devices=[]):
            return make().to("meta")


@dataclass
class _Running:
    """A module's call under way, and what its operators have come to so far."""

    name: str
    module: nn.Module
    macs: int = 0
    convolutions: list[Convolution | None] = field(default_factory=list)

    @property
    def is_leaf(self) -> bool:
        return next(self.module.children(), None) is None


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """`rows` so far, and the field of each tensor that depends on the image; None where that is not known."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.module = module
        self.rows: list[LayerRow] = []
        self.fields: MutableMapping[Tensor, Field | None] = WeakTensorKeyDictionary()
        self._running: list[_Running] = []
        self._calls: dict[str, int] = {}
        self._counted: set[int] = set()  # parameters, by identity

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hooks on every module, gone afterwards."""
        handles = []
        for name, module in self.module.named_modules():
            handles.append(module.register_forward_pre_hook(self._entering(name)))
            handles.append(module.register_forward_hook(self._leaving))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def never_called(self) -> Iterator[LayerRow]:
        """Rows of the modules whose parameters no call accounted for."""
        for name, module in self.module.named_modules():
            if params := self._count(module):
                kind = type(module).__name__
                yield LayerRow(name=name or kind, kind=kind, call=0, output=None, params=params)

    def _entering(self, name: str) -> Callable[[nn.Module, Any], None]:
        def enter(module: nn.Module, _: Any) -> None:
            self._running.append(_Running(name, module))

        return enter

    def _leaving(self, module: nn.Module, _: Any, outputs: Any) -> None:
        running = self._running.pop()
        params = self._count(module)
        if running.is_leaf or params:
            kind = type(module).__name__
            row = self._row(running.name or kind, kind, aten.tensors(outputs)[:1])
            (only,) = running.convolutions if len(running.convolutions) == 1 else (None,)
            self.rows.append(replace(row, params=params, macs=running.macs, convolution=only))

    def _row(self, name: str, kind: str, outputs: list[Tensor]) -> LayerRow:
        self._calls[name] = call = self._calls.get(name, 0) + 1
        if not outputs:
            return LayerRow(name=name, kind=kind, call=call, output=())
        shape, seen = tuple(outputs[0].shape), self.fields.get(outputs[0])
        return LayerRow(
            name=name,
            kind=kind,
            call=call,
            output=shape[1:] if shape[:1] == (1,) else shape,
            receptive_field=seen.pixels if seen else None,
            whole_image=seen.whole_image if seen else False,
        )

    def _count(self, module: nn.Module) -> int:
        """The elements of its own parameters that were not counted before."""
        fresh = [one for one in module.parameters(recurse=False) if id(one) not in self._counted]
        self._counted.update(map(id, fresh))
        return sum(parameter.numel() for parameter in fresh)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled, and telling torch to skip it would import torch._dynamo: 0.8 s."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = result_of(func, args, kwargs or {})
        made = aten.tensors(outputs)
        known = [tensor for tensor in aten.tensors((args, kwargs or {})) if tensor in self.fields]
        if made:
            call = aten.bind(func, args, kwargs or {}, tuple(made[0].shape), self.fields.get)
            if known:
                blind = any(self.fields[tensor] is None for tensor in known)
                self.fields.update((one, None if blind else _seen(call, one)) for one in made)
            if macs := aten.multiply_accumulates(call):
                self._attribute(call, macs, made)
        return outputs

    def _attribute(self, call: aten.AtenCall, macs: int, made: list[Tensor]) -> None:
        """Count them for the module without children that is running, else for a row of their own."""
        running = self._running[-1]
        convolution = aten.convolution_of(call)
        if running.is_leaf:
            running.macs += macs
            running.convolutions.append(convolution)
            return
        name = f"{running.name}/{call.op}" if running.name else call.op
        self.rows.append(replace(self._row(name, call.op, made), macs=macs, convolution=convolution))


def _seen(call: aten.AtenCall, output: Tensor) -> Field | None:
    try:
        return aten.propagate(replace(call, shape=tuple(output.shape)))
    except Untraceable:
        return None
