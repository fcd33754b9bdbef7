"""What a module returns, as the flat row of tensors that a graph, a session and a reference hand out.

PyTorch's own code returns tuples, dictionaries, named tuples, dataclasses and nests of them, with None where an output
is switched off. A graph has a row of named tensors. `flatten_outputs` is the one way from the first to the second, so
that the eager session, the exporter and the float64 reference agree on which tensor is which.

Importing this module imports no torch.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from deploykit.errors import UsageError
from deploykit.spec import TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

ONLY_OUTPUT = "logits"  # a network's one output, where nothing in the result names it
DEEPEST = 32  # levels of nesting; beyond it the result holds itself
Key = str | int


def flatten_outputs(result: object) -> list["torch.Tensor"]:
    """The tensors of `result` in order; None is left out, bfloat16 becomes float32 (exact), as no runtime hands it out.

    Raises UsageError for anything else in it, and where there is no tensor at all.
    """
    return [tensor for _, tensor in _leaves(result)]


def output_specs_of(results: Sequence[object], batches: Sequence[int], taken: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Name, shape and type of each output, from what a module returned at two different `batches`.

    Outputs bear the keys that lead to them (`out`, `boxes_0`, `output_1` of a tuple); a single one without a key is
    called `logits`. No name is in `taken`. A dimension that grows with the batch is called `batch` wherever it stands,
    or `3*batch` where each image has three rows; the others are numbers.

    Raises UsageError as `flatten_outputs`, and for a result whose structure or ranks change with the batch.
    """
    ours, theirs = (list(_leaves(result)) for result in results)
    if [path for path, _ in ours] != [path for path, _ in theirs]:
        raise UsageError(
            f"the network returns {len(ours)} tensors for {batches[0]} images and {len(theirs)} for {batches[1]}",
            hint="return stacked tensors with a dimension for the batch, not a list with one entry per image",
        )
    names = _names([path for path, _ in ours], taken)
    return tuple(
        TensorSpec(name, _shape(name, one, other, batches), str(one.dtype).removeprefix("torch."))
        for name, (_, one), (_, other) in zip(names, ours, theirs, strict=True)
    )


def returning_a_tuple(module: "nn.Module") -> AbstractContextManager[object]:
    """Inside this context, `module` returns its flattened outputs as a tuple: a form that every tracer understands.

    An input that is handed back, and a tensor that is returned twice, are copied, so that each output is a value of
    its own.
    """

    def flat(
        _module: "nn.Module", inputs: tuple[Any, ...], named: Mapping[str, Any], result: object
    ) -> tuple["torch.Tensor", ...]:
        seen = {id(tensor) for tensor in (*inputs, *named.values())}
        outputs = []
        for tensor in flatten_outputs(result):
            outputs.append(tensor.clone() if id(tensor) in seen else tensor)
            seen.add(id(tensor))
        return tuple(outputs)

    return module.register_forward_hook(flat, with_kwargs=True)


def _leaves(result: object, path: tuple[Key, ...] = ()) -> Iterator[tuple[tuple[Key, ...], "torch.Tensor"]]:
    found = list(_walk(result, path))
    if not found:
        raise UsageError(f"the network returns no tensor but {_called(result)}", hint="return a tensor")
    yield from found


def _walk(result: object, path: tuple[Key, ...]) -> Iterator[tuple[tuple[Key, ...], "torch.Tensor"]]:
    import torch

    if result is None:
        return
    if len(path) > DEEPEST:
        raise UsageError(f"what the network returns is nested more than {DEEPEST} deep", hint="return a flat tuple")
    if isinstance(result, torch.Tensor):
        yield path, _plain(result, path)
    elif (parts := _parts(result)) is not None:
        for key, part in parts:
            yield from _walk(part, (*path, key))
    else:
        raise UsageError(
            f"the network returns {_called(result)}{_where(path)}",
            hint="return tensors, in tuples, lists, dictionaries, named tuples or dataclasses",
        )


def _parts(result: object) -> list[tuple[Key, object]] | None:
    """What a container holds, by key; None for what is no container."""
    if isinstance(result, Mapping):  # also an OrderedDict, and the ModelOutput of transformers
        return [(key if isinstance(key, int) else str(key), part) for key, part in result.items()]
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return list(zip(result._fields, result, strict=True))
    if isinstance(result, list | tuple):
        return list(enumerate(result))
    if is_dataclass(result) and not isinstance(result, type):
        return [(field.name, getattr(result, field.name)) for field in fields(result)]
    return None


def _plain(tensor: "torch.Tensor", path: tuple[Key, ...]) -> "torch.Tensor":
    import torch

    if tensor.is_complex():
        raise UsageError(
            f"the network returns complex numbers{_where(path)}",
            hint="no runtime here hands them out: return torch.view_as_real(x), or magnitude and phase",
        )
    if tensor.layout is not torch.strided or tensor.is_quantized:
        kind = "quantized" if tensor.is_quantized else "sparse"
        raise UsageError(f"the network returns a {kind} tensor{_where(path)}", hint="return it dense, in float32")
    return tensor.float() if tensor.dtype is torch.bfloat16 else tensor


def _called(result: object) -> str:
    return f"an empty {type(result).__name__}" if _parts(result) == [] else f"a {type(result).__name__}"


def _where(path: tuple[Key, ...]) -> str:
    return f" at {_name(path)}" if path else ""


def _names(paths: Sequence[tuple[Key, ...]], taken: Sequence[str]) -> list[str]:
    used, names = set(taken), []
    for path in paths:
        name = wanted = _name(path) if len(paths) > 1 or _has_key(path) else ONLY_OUTPUT
        number = 0
        while name in used:
            number += 1
            name = f"{wanted}_{number}"
        used.add(name)
        names.append(name)
    return names


def _name(path: tuple[Key, ...]) -> str:
    """The keys from the first text on, or all of them behind `output`: `boxes_0`, `output_1_0`."""
    start = next((place for place, key in enumerate(path) if isinstance(key, str)), None)
    parts = ("output", *path) if start is None else path[start:]
    return re.sub(r"[^0-9A-Za-z_.\-]+", "_", "_".join(map(str, parts))) or "output"


def _has_key(path: tuple[Key, ...]) -> bool:
    return any(isinstance(key, str) for key in path)


def _shape(name: str, one: "torch.Tensor", other: "torch.Tensor", batches: Sequence[int]) -> tuple[int | str, ...]:
    if one.dim() != other.dim():
        raise UsageError(
            f"output {name} has {one.dim()} dimensions for {batches[0]} images and {other.dim()} for {batches[1]}",
            hint="keep the dimension of the batch: no squeeze() without its dimension",
        )
    return tuple(
        size if size == grown else _grows(name, axis, (size, grown), batches)
        for axis, (size, grown) in enumerate(zip(one.shape, other.shape, strict=True))
    )


def _grows(name: str, axis: int, sizes: tuple[int, int], batches: Sequence[int]) -> str:
    rows, rest = divmod(sizes[0], batches[0])
    if rest or rows * batches[1] != sizes[1]:
        return f"{name}_{axis}"
    return "batch" if rows == 1 else f"{rows}*batch"
