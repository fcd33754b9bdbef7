"""A live module: the copy that is taken of it, and the inputs that an example stands for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from deploykit.errors import UsageError
from deploykit.modules.live import Snapshot, copied, require_values
from deploykit.modules.state import places
from deploykit.spec import BATCH, InputShape, ModelSpec
from deploykit.spec.shapes import DTYPES

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor, nn

Array: TypeAlias = "Tensor | ndarray[Any, Any]"
Example: TypeAlias = "Array | Sequence[Array] | Mapping[str, Array]"


def snapshot_of(module: nn.Module, spec: ModelSpec) -> Snapshot:
    """A copy of `module` in eval mode, out of its wrapper, in float32 on the CPU. Raises UsageError."""
    from deploykit.zoo.own import prepared, unwrapped
    from deploykit.zoo.probe import PROBED_BATCHES, run_at
    from deploykit.zoo.registry import input_specs

    inner = unwrapped(module)
    require_values(inner)
    devices = sorted({getattr(holder, name).device.type for _, holder, name in places(inner)} - {"cpu"})
    copy, notes = prepared(copied(inner), lambda lazy: run_at(lazy, input_specs(spec), PROBED_BATCHES[0]))
    moved = tuple(f"copied from {device} to the CPU" for device in devices)
    return Snapshot(copy.eval(), (*moved, *notes))


def example_shapes(module: nn.Module, example: Example) -> tuple[InputShape, ...]:
    """The inputs that an example stands for, the batch free. Raises UsageError for what is not an example."""
    if isinstance(example, Mapping):
        return tuple(_shape(name, each) for name, each in example.items())
    if not isinstance(example, list | tuple):
        return (_shape("", example),)
    if len(example) == 1:
        return (_shape("", example[0]),)
    names = list(inspect.signature(module.forward).parameters)
    if not 0 < len(example) <= len(names):
        raise UsageError(
            f"the example has {len(example)} inputs, and forward takes {', '.join(names) or 'none'}",
            hint="give one array for each of them, or a mapping by name",
        )
    return tuple(_shape(name, each) for name, each in zip(names, example, strict=False))


def _shape(name: str, array: Any) -> InputShape:
    """Real numbers are float32: that is what the copy computes in."""
    shown = name or "the example"
    if not (hasattr(array, "shape") and hasattr(array, "dtype")):
        raise UsageError(f"{shown} is a {type(array).__name__}, not an array", hint="give a tensor or a NumPy array")
    sizes, dtype = tuple(map(int, array.shape)), str(array.dtype).removeprefix("torch.")
    if len(sizes) < 1 or min(sizes) < 1:
        raise UsageError(f"{shown} has the shape {sizes}", hint="its first dimension is the batch: (1, 3, 224, 224)")
    real = "float" in dtype
    if not real and dtype not in DTYPES:
        raise UsageError(f"{shown} holds {dtype}", hint=f"give one of {', '.join(DTYPES)}")
    return InputShape(name, BATCH if name else None, sizes[1:], "" if real else dtype)
