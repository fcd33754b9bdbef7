"""A library's exceptions as deploykit's, in the library's own words."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from deploykit.errors import DeploykitError, DeviceOutOfMemory, ExecutionFailed

P = ParamSpec("P")
R = TypeVar("R")

# Not every library has a class of its own for this: the words of ONNX Runtime's arena, of CUDA, and of PyTorch's and
# C++'s allocators on the host.
NO_MEMORY = (
    "failed to allocate memory",
    "is smaller than requested bytes",
    "out of memory",
    "can't allocate memory",
    "bad_alloc",
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a library's exception says so."""
    return any(phrase in _words(error).lower() for phrase in NO_MEMORY)


def quoted(library: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A method that calls `library`: what it raises becomes DeviceOutOfMemory or ExecutionFailed.

    A decorator and not a context manager, because the timed calls pass through it: it costs next to nothing there.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        @wraps(method)
        def calling(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return method(*args, **kwargs)
            except DeploykitError:
                raise
            except Exception as error:
                if is_out_of_memory(error):
                    raise DeviceOutOfMemory(
                        f"{library} is out of memory: {_words(error)}", hint="run a smaller batch"
                    ) from error
                raise ExecutionFailed(f"{library} failed: {_words(error)}") from error

        return calling

    return decorate


def _words(error: Exception) -> str:
    """The first line, all of it: what tells memory apart may stand far behind."""
    return (str(error).strip() or repr(error)).splitlines()[0]
