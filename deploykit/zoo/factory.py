"""Calling a factory `package.module:function`, ours or a user's, and saying in one line what is wrong with it.

Importing this module imports no torch.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.errors import UnknownName, UsageError, one_line
from deploykit.modules.torch_errors import explain
from deploykit.zoo.misnamed import module_of

if TYPE_CHECKING:
    from torch import nn


def call_factory(factory: str, options: Mapping[str, Any]) -> "nn.Module":
    """The module that `factory` makes with `options` as keyword arguments.

    Raises UsageError where it cannot be imported, needs or refuses an argument, fails, or returns something else.
    """
    from torch import nn

    function = find_factory(factory)
    if isinstance(function, nn.Module):
        raise UsageError(f"{factory} is a module, not a function", hint="name a function that builds and returns it")
    _require_arguments(factory, function, options)
    try:
        module = function(**options)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # a user's code raises what it likes
        reason = explain(error)
        raise UsageError(f"{factory} failed: {reason.what}", hint=reason.hint) from error
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"{factory} returned {type(module).__name__}, not a network", hint="a factory returns a torch.nn.Module"
        )
    return module


def find_factory(factory: str) -> Callable[..., Any]:
    """What `factory` names, imported. Raises UsageError with what its module lacks or how its import failed."""
    name, _, attribute = factory.partition(":")
    if name.endswith(".py") or "/" in name:
        raise UsageError(
            f"{name} is the name of a file", hint=f"write it as Python imports it: {module_of(name)}:{attribute}"
        )
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # the import runs a user's code
        raise UsageError(
            f"cannot import {name}: {type(error).__name__}: {one_line(error)}",
            hint="it is named package.module:function",
        ) from error
    if not hasattr(module, attribute):
        raise UnknownName(f"function of {name}", attribute, _functions(module) or [f"{name} defines none"])
    found = getattr(module, attribute)
    if not callable(found):
        raise UsageError(f"{factory} is of type {type(found).__name__}, not a function")
    function: Callable[..., Any] = found
    return function


def search_current_directory() -> None:
    """Look for a user's factory as `python -m` would: here first. The script `deploykit` starts without."""
    here = str(Path.cwd())
    if not {here, ""} & set(map(os.fspath, sys.path)):
        sys.path.insert(0, here)
        importlib.invalidate_caches()


def _require_arguments(factory: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Before the call: a TypeError from inside it could mean anything."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables of C have none
        return
    try:
        signature.bind(**options)
    except TypeError as error:
        takes = ", ".join(str(parameter) for parameter in signature.parameters.values()) or "no arguments"
        raise UsageError(
            f"{factory} cannot be called: {error}", hint=f"it takes {takes}; give them with --factory-args"
        ) from error


def _functions(module: object) -> list[str]:
    return [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
