"""Plain values of the API have the types that its signatures say, or the call ends before any work starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from numbers import Integral, Real
from typing import ParamSpec, TypeVar

from deploykit.errors import UsageError
from deploykit.spec import BuilderOptions

P = ParamSpec("P")
R = TypeVar("R")


def _is_number(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kind) and not isinstance(value, bool)


def _is_names(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, Sequence) and all(isinstance(each, str) for each in value))


PLAIN: dict[str, tuple[Callable[[object], bool], str, str]] = {  # an annotation: its test, the fault, what to write
    "bool": (lambda value: isinstance(value, bool), "is not True or False", ""),
    "int": (_is_number(Integral), "is not a whole number", ""),
    "float": (_is_number(Real), "is not a number", ""),
    "str": (lambda value: isinstance(value, str), "is not text", ""),
    "str | Sequence[str]": (_is_names, "is not text", 'write "fc*" or ["conv1", "fc*"]'),
    "BuilderOptions": (lambda value: isinstance(value, BuilderOptions), "is not a BuilderOptions", ""),
}
OPTIONAL = " | None"


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Arguments with an annotation of `PLAIN`, or one of them or None, are that: else UsageError.

    NumPy's numbers are numbers, and True is not one.
    """
    known = signature(function)
    plain = {name: each.annotation for name, each in known.parameters.items() if _kind(each.annotation) in PLAIN}

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = {**dict(zip(known.parameters, args, strict=False)), **kwargs}
        for name in plain.keys() & given.keys():
            _require(name, given[name], plain[name])
        return function(*args, **kwargs)

    return call


def _kind(annotation: str) -> str:
    return str(annotation).removesuffix(OPTIONAL)


def _require(name: str, value: object, annotation: str) -> None:
    test, fault, hint = PLAIN[_kind(annotation)]
    if not (value is None and annotation.endswith(OPTIONAL)) and not test(value):
        raise UsageError(f"{name} {value!r} {fault}", hint=hint)
