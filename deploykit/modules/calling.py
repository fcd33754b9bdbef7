"""How a module gets its inputs: by the names of its forward's parameters where those are the inputs' names."""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from deploykit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def call(module: "nn.Module", tensors: "Mapping[str, Tensor]") -> Any:
    """What `module` answers to these inputs."""
    positional, named = arguments(module, tensors)
    with without_autocast():
        try:
            return module(*positional, **named)
        except SystemExit as error:
            raise RuntimeError(f"its code calls sys.exit({error.code!r})") from error


def without_autocast() -> AbstractContextManager[object]:
    """The module's own types, also where the caller has autocast on."""
    import torch

    return torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext()


def arguments(module: "nn.Module", tensors: "Mapping[str, Tensor]") -> "tuple[tuple[Tensor, ...], dict[str, Tensor]]":
    """The inputs by name, in the order of forward's parameters, where it has parameters of all these names.

    Otherwise in the order of `tensors`: an input that nobody named is the first one.
    """
    names = [name for name, parameter in _parameters(module).items() if parameter.kind in NAMED]
    if set(tensors) <= set(names):
        return (), {name: tensors[name] for name in names if name in tensors}
    return tuple(tensors.values()), {}


def require_inputs(model: str, module: "nn.Module", names: Sequence[str]) -> None:
    """Raises UsageError unless forward can be called with inputs of these names; optional ones may be left out."""
    parameters = _parameters(module)
    known = [name for name, parameter in parameters.items() if parameter.kind in NAMED]
    needed = [name for name in known if parameters[name].default is inspect.Parameter.empty]
    if len(names) == 1 and names[0] not in known and len(needed) <= 1:
        return
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters.values()):
        return
    paste = " ".join(f"--input-shape {name}=-1x..." for name in needed)
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            f"{model} has no input {unknown[0]}: its forward takes {', '.join(known)}", hint=f"name its inputs: {paste}"
        )
    if missing := [name for name in needed if name not in names]:
        raise UsageError(
            f"{model} needs the shape of {', '.join(missing)} too: its forward takes {', '.join(known)}",
            hint=f"give each: {paste}",
        )


def _parameters(module: "nn.Module") -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(module.forward).parameters
    except (TypeError, ValueError):  # a forward written in C has none
        return {}
