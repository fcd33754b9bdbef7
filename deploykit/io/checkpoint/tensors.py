"""Every tensor of a checkpoint by its full name, however deep it lies: `ema.state_dict.conv.weight`.

What a file holds is nested in any way: tables in tables, lists of tables, the same table twice. A tensor's full name is
the keys on the way to it, joined by dots, and its container is the table that it lies in. Bounds keep a hostile file
from costing more than a look: how deep, how many tables and how many tensors are looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit.errors import UntrustedArtifact
from deploykit.io.checkpoint.harmless import PickledArray

if TYPE_CHECKING:
    import torch

MAX_DEPTH = 12
MAX_TABLES = 20_000  # an optimizer's state has one for each parameter
MAX_TENSORS = 200_000


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor where it lies: `container` is the full name of its table, "" at the top of the file."""

    container: str
    value: "torch.Tensor | PickledArray"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the checkpoint claims; `dense_tensor` checks it."""
        return tuple(self.value.shape)


def tensors_of(content: object, path: Path) -> dict[str, StoredTensor]:
    """The tensors of what a checkpoint holds, by full name, in the order of the file.

    Raises UntrustedArtifact where there is none, or more than the bounds allow.
    """
    if not isinstance(content, Mapping | list | tuple):
        raise UntrustedArtifact(f"checkpoint {path} holds a {type(content).__name__}, not a state dict")
    stored: dict[str, StoredTensor] = {}
    for name, item in _walk(content, path):
        stored.setdefault(name, item)
        if len(stored) > MAX_TENSORS:
            raise UntrustedArtifact(f"checkpoint {path} holds more than {MAX_TENSORS} tensors")
    if not stored:
        raise UntrustedArtifact(
            f"checkpoint {path} holds no state dict",
            hint="save the network's: torch.save(model.state_dict(), path)",
        )
    return stored


def _walk(content: object, path: Path) -> Iterator[tuple[str, StoredTensor]]:
    import torch

    pending: list[tuple[str, int, object]] = [("", 0, content)]
    tables = 0
    while pending:
        container, depth, table = pending.pop()
        tables += 1
        if tables > MAX_TABLES or depth > MAX_DEPTH:
            limit = f"{MAX_TABLES} tables" if tables > MAX_TABLES else f"{MAX_DEPTH} tables inside each other"
            raise UntrustedArtifact(f"checkpoint {path} holds more than {limit}", hint="save the state dict alone")
        nested = []
        for key, value in _items(table):
            name = f"{container}.{key}" if container else key
            if torch.is_tensor(value) or (isinstance(value, PickledArray) and value.is_numeric):
                yield name, StoredTensor(container, value)
            elif isinstance(value, Mapping | list | tuple):
                nested.append((name, depth + 1, value))
        pending += reversed(nested)


def _items(table: object) -> Iterator[tuple[str, object]]:
    if isinstance(table, Mapping):
        yield from ((str(key), value) for key, value in table.items() if isinstance(key, str | int))
    elif isinstance(table, Sequence) and any(isinstance(item, Mapping) for item in table):
        yield from ((str(index), value) for index, value in enumerate(table) if isinstance(value, Mapping))


def storage_key(tensor: "torch.Tensor | PickledArray") -> object:
    """The same for tensors that are the same numbers in memory."""
    import torch

    if isinstance(tensor, PickledArray) or tensor.layout is not torch.strided or tensor.device.type != "cpu":
        return id(tensor)
    return tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape)


def dense_tensor(name: str, stored: StoredTensor, path: Path) -> "torch.Tensor":
    """The tensor, detached, once it lies wholly inside the storage that the file really has.

    Raises UntrustedArtifact for one that does not, or that is no plain dense tensor on the CPU.
    """
    import torch

    if isinstance(stored.value, PickledArray):
        return stored.value.to_tensor(name)
    tensor = stored.value
    dense = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not dense or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise UntrustedArtifact(f"checkpoint {path}: {name} is not a plain tensor with all of its elements")
    return tensor.detach()
