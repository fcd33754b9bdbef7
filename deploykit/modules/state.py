"""All of a module's numbers, so that another process can have the very same ones.

A `state_dict` misses some: buffers that are not persistent, and tensors that are plain attributes of a module. Here
every tensor that a module holds counts, under the name of its place. What a module holds beside tensors (numbers,
texts, arrays, lists of tensors) is not restored, for its constructor makes it again, but its digest goes into keys:
networks that differ in it are different networks. Imports torch when called.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deploykit.errors import UsageError
from deploykit.io.loader import read_checkpoint

if TYPE_CHECKING:
    from torch import Tensor, nn

BESIDE = "beside"  # the key, in the file's metadata, of the digest of what is no tensor
MAX_DEPTH = 4  # of lists in lists


def state_of(module: "nn.Module") -> "dict[str, Tensor]":
    """Every parameter, buffer and plain tensor attribute by the name of its place, detached; shared ones are the same.

    Raises UsageError for one that has no values, or that is no plain dense tensor.
    """
    import torch

    found = {name: getattr(holder, attribute) for name, holder, attribute in places(module)}
    for name, tensor in found.items():
        if tensor.is_meta:
            raise UsageError(f"{name} has no values: it lies on torch's meta device", hint="load the weights into it")
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise UsageError(f"{name} is not a plain tensor", hint="return a floating-point module with dense tensors")
    return {name: tensor.detach() for name, tensor in found.items()}


def restore(module: "nn.Module", path: Path) -> None:
    """Put the state that `write_state` left at `path` into a module of the same structure, in place.

    Raises UsageError where its tensors have other names or shapes: its function makes another network each time.
    """
    import torch

    found = cast("Mapping[str, Tensor]", read_checkpoint(path))
    own_places = {name: (holder, attribute) for name, holder, attribute in places(module)}
    wrong = sorted(set(found) ^ set(own_places))
    wrong += [
        name
        for name, place in own_places.items()
        if name in found and getattr(*place).shape != _logical(found[name], place)
    ]
    if wrong:
        raise UsageError(
            f"the network has other tensors each time it is made: {', '.join(wrong[:3])}",
            hint="let its function depend on its arguments alone",
        )
    with torch.no_grad():
        for name, (holder, attribute) in own_places.items():
            own, stored = getattr(holder, attribute), found[name]
            stored = torch.view_as_complex(stored) if own.is_complex() else stored
            if attribute in holder._parameters or attribute in holder._buffers:
                own.copy_(stored)
            else:
                setattr(holder, attribute, stored.to(own.dtype))


def state_digest(state: "Mapping[str, Tensor]") -> str:
    """SHA-256 of names, types, shapes and values."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def attributes_digest(module: "nn.Module") -> str:
    """SHA-256 of what the modules of a network hold beside tensors that have a place of their own."""
    digest = hashlib.sha256()
    for prefix, holder in module.named_modules():
        digest.update(f"{prefix} {type(holder).__module__}.{type(holder).__qualname__};".encode())
        for attribute, value in sorted(_plain(holder).items()):
            digest.update(f"{attribute}=".encode())
            digest.update(_bytes(value, MAX_DEPTH))
    return digest.hexdigest()


@contextmanager
def unchanged(module: "nn.Module") -> "Iterator[None]":
    """Inside, `forward` may write into its buffers and plain tensors; afterwards they are as they were."""
    kept = [
        (holder, attribute, getattr(holder, attribute))
        for _, holder, attribute in places(module)
        if attribute not in holder._parameters
    ]
    values = [tensor.detach().clone() for _, _, tensor in kept]
    try:
        yield
    finally:
        for (holder, attribute, tensor), value in zip(kept, values, strict=True):
            tensor.detach().copy_(value)
            setattr(holder, attribute, tensor)


def write_state(state: "Mapping[str, Tensor]", path: Path, *, beside: str = "") -> None:
    """Write a state as safetensors; the same tensors give the same bytes. Raises OSError, as any write does.

    Tensors that share memory (tied weights) are written once each. `beside` goes into the file's metadata.
    """
    import torch
    from safetensors.torch import save

    seen: set[int] = set()
    plain = {}
    for name, tensor in state.items():
        dense = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        dense = dense.detach().contiguous()
        storage = dense.untyped_storage().data_ptr()
        plain[name] = dense.clone() if storage in seen else dense
        seen.add(storage)
    path.write_bytes(save(plain, metadata={BESIDE: beside} if beside else None))


def places(module: "nn.Module") -> "Iterator[tuple[str, nn.Module, str]]":
    """(name, module that holds it, attribute) of every tensor."""
    import torch

    for prefix, holder in module.named_modules():
        registered = {**holder._parameters, **holder._buffers}
        held = {**registered, **{key: value for key, value in _plain(holder).items() if torch.is_tensor(value)}}
        for attribute, value in held.items():
            if value is not None:
                yield f"{prefix}.{attribute}" if prefix else attribute, holder, attribute


def _plain(holder: "nn.Module") -> dict[str, Any]:
    """The attributes that a class gave itself."""
    from torch import nn

    torchs_own = vars(nn.Module())
    return {key: value for key, value in vars(holder).items() if key not in torchs_own}


def _bytes(value: object, depth: int) -> bytes:
    """A value that arithmetic may depend on; nothing for tensors with a place and for what has no plain value."""
    import numpy as np
    import torch

    if isinstance(value, np.ndarray) and value.dtype.kind in "fiubc":
        return f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    if isinstance(value, list | tuple) and depth:
        return b"[%s]" % b",".join(_listed(item, depth) for item in value)
    if isinstance(value, Mapping) and depth:
        return b"{%s}" % b",".join(str(key).encode() + b":" + _listed(item, depth) for key, item in value.items())
    if value is None or isinstance(value, str | int | float | bool | torch.dtype):
        return json.dumps(str(value)).encode()
    return b""


def _listed(item: object, depth: int) -> bytes:
    import torch

    return state_digest({"": item.detach()}).encode() if torch.is_tensor(item) else _bytes(item, depth - 1)


def _logical(stored: "Tensor", place: "tuple[nn.Module, str]") -> tuple[int, ...]:
    """The shape of a stored tensor as the module has it: complex numbers are written as pairs."""
    return tuple(stored.shape[:-1]) if getattr(*place).is_complex() else tuple(stored.shape)
