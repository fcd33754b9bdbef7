"""Modules that Python code hands over: copies of them, and how another process gets one.

What is kept is a copy on the CPU. The module that it came from keeps its device, types and mode, and may be trained on:
what is made of the copy does not change with it. A `ModelSpec` names a copy by a token, which means something in this
process only, and as long as somebody holds the `Snapshot`; a worker process reads the module from a pickle that this
process wrote into its own store. Importing this module imports no torch.
"""

import copy
import importlib.util
import io
import itertools
import pickle
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from deploykit.errors import BackendMissing, UsageError, one_line
from deploykit.modules.state import places, state_of
from deploykit.spec import Reason

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")
IMPORT_IT = "define it in a file that can be imported, or name the network by from_factory"

_taken: "WeakValueDictionary[str, Snapshot]" = WeakValueDictionary()
_received: "list[Snapshot]" = []  # by a worker process, for as long as it lives
_serial = itertools.count(1)


class Snapshot:
    """A network as it was when it was handed over: in eval mode, float32, on the CPU.

    `notes` say what was converted for that. `obstacle` is why no other process can have it; None where it can.
    """

    def __init__(self, module: "nn.Module", notes: tuple[str, ...] = (), *, token: str = "") -> None:
        self.token = token or f"{type(module).__qualname__}-{next(_serial)}"
        self.notes = notes
        self.obstacle = obstacle_of(module)
        self._module = module
        self._known: dict[str, Any] = {}
        _taken[self.token] = self

    def module(self) -> "nn.Module":
        """A copy that the caller may change."""
        return copied(self._module)

    def pickled(self) -> bytes:
        """The module for another process, where there is no `obstacle`."""
        return pickle.dumps(self._module)

    def once(self, what: str, make: Callable[[], T]) -> T:
        """What `make` answers, kept as long as the snapshot: nothing about it changes."""
        if what not in self._known:
            self._known[what] = make()
        found: T = self._known[what]
        return found


def taken(token: str) -> Snapshot:
    """The snapshot of `token`. Raises UsageError where nobody holds it any more."""
    if token not in _taken:
        raise UsageError(f"the module {token} is gone", hint="keep the Model of from_module as long as it is used")
    return _taken[token]


def load(token: str, pickled: Path | None, obstacle: Reason | None) -> "nn.Module":
    """The module of `token`, from this process or from the pickle that the process that has it wrote.

    Raises BackendMissing where this process can have neither.
    """
    if token in _taken:
        return taken(token).module()
    if pickled is None:
        what, fix = (obstacle.what, obstacle.fix) if obstacle else (f"the module {token} is gone", "")
        raise BackendMissing(what, hint=fix)
    return _unpickled(pickled.read_bytes())


def receive(token: str, pickled: bytes) -> None:
    """Take over, in a worker process, the module of `token` from the process that sent it. Raises BackendMissing."""
    _received.append(Snapshot(_unpickled(pickled), token=token))


def _unpickled(content: bytes) -> "nn.Module":
    """What `Snapshot.pickled` gave. Raises BackendMissing where a class of it cannot be imported here."""
    try:
        module: nn.Module = pickle.loads(content)  # noqa: S301 - written by the process that started this one
    except Exception as error:  # a user's modules raise what they like when they are imported
        raise BackendMissing(
            f"the module cannot be read in a worker process: {one_line(error)}", hint=IMPORT_IT
        ) from error
    return module


def copied(module: "nn.Module") -> "nn.Module":
    """A deep copy whose parameters, buffers and tensors lie on the CPU; `module` is as it was.

    Raises UsageError where something that the module holds cannot be copied.
    """
    from torch.nn.parameter import is_lazy

    memo = {}
    for _, holder, attribute in places(module):
        tensor = getattr(holder, attribute)
        if not is_lazy(tensor) and not tensor.is_meta:
            memo[id(tensor)] = _on_cpu(tensor)
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:  # whatever a module holds raises what it likes
        raise UsageError(
            f"{type(module).__name__} cannot be copied: {one_line(error)}",
            hint="take out of it what is not part of the network, or name the network by from_factory",
        ) from error


def require_values(module: "nn.Module") -> None:
    """Raises UsageError for tensors without values, or of a kind that has no plain ones."""
    from torch.nn.parameter import is_lazy

    if not any(is_lazy(getattr(holder, attribute)) for _, holder, attribute in places(module)):
        state_of(module)


def _on_cpu(tensor: "Tensor") -> "Tensor":
    import torch
    from torch import nn

    values = tensor.detach().to("cpu", copy=True)
    if type(tensor) is nn.Parameter:
        return nn.Parameter(values, requires_grad=tensor.requires_grad)
    if type(tensor) is torch.Tensor:
        return values.requires_grad_(tensor.requires_grad)
    return copy.copy(tensor).to("cpu")


def obstacle_of(module: "nn.Module") -> Reason | None:
    """Why another process cannot have `module`: what it consists of has to be importable there by its name."""
    try:
        _Examined(io.BytesIO()).dump(module)
    except _NotImportable as error:
        return Reason(str(error), IMPORT_IT)
    except Exception as error:  # noqa: BLE001 - whatever a module holds raises what it likes
        return Reason(f"{type(module).__name__} cannot be handed to a worker process: {one_line(error)}", IMPORT_IT)
    return None


class _NotImportable(Exception):
    pass


class _Examined(pickle.Pickler):
    """Looks at each class and function that a pickle would name; numbers are left out."""

    def reducer_override(self, value: object) -> Any:
        import torch

        if isinstance(value, torch.Tensor):
            return float, ()
        if isinstance(value, type | FunctionType) and not _importable(value.__module__):
            name = f"{value.__module__}.{value.__qualname__}"
            raise _NotImportable(f"{name} is not in a module that a worker process can import")
        return NotImplemented


def _importable(module: str) -> bool:
    """`__main__` of a worker is another; a module that code has put together has no place to be found at."""
    if module == "__main__":
        return False
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError, AttributeError):
        return False
