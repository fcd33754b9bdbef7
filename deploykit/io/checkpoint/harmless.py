"""What a pickled checkpoint may hold beside tensors: options, dates, paths, NumPy's numbers and arrays.

A pickle names the functions and classes that rebuild it. torch's `weights_only` reader refuses every name that is not
on a list, and this is the list that is added to torch's own. A name on it never stands for foreign code: most stand for
inert values defined here, so that nothing of NumPy's is fed with a file's bytes, and the others are plain containers of
the standard library. What a training script stored beside its weights is not read by anybody.
"""

import argparse
import datetime
import math
import types
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from deploykit.errors import UntrustedArtifact

if TYPE_CHECKING:
    import torch

KINDS = {"f2": "float16", "f4": "float32", "f8": "float64", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64"}
KINDS |= {"u1": "uint8", "b1": "bool"}


class Ignored:
    """A value that nobody reads, whatever it was made from."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


class PickledType(Ignored):
    """`numpy.dtype(code, align, copy)`; the state that follows has the byte order in second place."""

    def __init__(self, code: object = "", *_: object) -> None:
        self.code, self.order = str(code), "<"

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1:
            self.order = str(state[1])


class PickledArray(Ignored):
    """`numpy.ndarray` as its pickle describes it: (version, shape, type, whether in Fortran's order, bytes)."""

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, tuple) else ()

    @property
    def is_numeric(self) -> bool:
        """Whether it is one of numbers that a tensor can have, in the byte order of this machine, with a shape."""
        if len(self.state) != 5:
            return False
        _, shape, kind, _, _ = self.state
        is_shape = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
        return is_shape and isinstance(kind, PickledType) and kind.code.lstrip("<|=") in KINDS and kind.order in "<|="

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the pickle of a numeric array claims; `to_tensor` checks it."""
        found: tuple[int, ...] = self.state[1]
        return found

    def to_tensor(self, name: str) -> "torch.Tensor":
        """A copy of a numeric one. Raises UntrustedArtifact where the shape it claims is not that of its bytes."""
        import torch

        _, _, kind, fortran, content = self.state
        dtype, sizes = getattr(torch, KINDS[kind.code.lstrip("<|=")]), list(self.shape)
        if not isinstance(content, bytes):
            raise UntrustedArtifact(f"array {name} has no bytes")
        if math.prod(sizes) * dtype.itemsize != len(content):
            raise UntrustedArtifact(f"array {name} claims the shape {sizes} and has {len(content)} bytes")
        if not content:
            return torch.empty(sizes, dtype=dtype)
        flat = torch.frombuffer(bytearray(content), dtype=dtype)
        return flat.reshape(sizes[::-1]).permute(*range(len(sizes))[::-1]) if fortran else flat.reshape(sizes)


def reconstruct_array(*_: object) -> PickledArray:
    """Stand in for NumPy's `_reconstruct`, whose second argument is a shape to allocate."""
    return PickledArray()


def scalar(*_: object) -> Ignored:
    """Stand in for NumPy's `scalar`: a number beside the weights."""
    return Ignored()


def plain_dict(*_: object) -> dict[object, object]:
    """Stand in for `defaultdict`, whose first argument is a function to call."""
    return {}


def plain_list(*_: object) -> list[object]:
    """Stand in for `deque`; what is appended to it follows."""
    return []


def no_bytes(*_: object) -> bytes:
    """Stand in for `bytes`, by which the second pickle protocol writes those of no length."""
    return b""


def harmless_globals() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Each value with the name that it is allowed under, as `torch.serialization.safe_globals` takes them."""
    allowed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (argparse.Namespace, "argparse.Namespace"),
        (types.SimpleNamespace, "types.SimpleNamespace"),
        (plain_dict, "collections.defaultdict"),
        (plain_list, "collections.deque"),
        (PickledArray, "numpy.ndarray"),
        (PickledType, "numpy.dtype"),
        (Ignored, "uuid.UUID"),
        (Ignored, "decimal.Decimal"),
        (str, "torch.torch_version.TorchVersion"),
    ]
    for core in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed += [(reconstruct_array, f"{core}._reconstruct"), (scalar, f"{core}.scalar")]
    for kind in (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone):
        allowed.append((kind, f"datetime.{kind.__name__}"))
    for module in ("pathlib", "pathlib._local"):
        allowed += [(PurePosixPath, f"{module}.{name}") for name in ("Path", "PosixPath", "PurePosixPath", "PurePath")]
        allowed += [(PureWindowsPath, f"{module}.{name}") for name in ("WindowsPath", "PureWindowsPath")]
    for module in ("builtins", "__builtin__"):  # as the factory of a defaultdict, or as the type of an option
        allowed.append((no_bytes, f"{module}.bytes"))
        names = ("bool", "dict", "float", "frozenset", "int", "list", "slice", "str", "tuple")
        allowed += [(Ignored, f"{module}.{name}") for name in names]
    return allowed
