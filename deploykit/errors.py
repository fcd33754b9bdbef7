"""Every error that deploykit raises on purpose, and the exit code that the command line answers with.

DeploykitError                 1   something failed that deploykit foresaw
├── UsageError                 2   the request itself is wrong
│   ├── UnknownName            2   no such model, backend, precision or target; carries the nearest names
│   ├── CheckpointMismatch     2   tensors missing, left over or of another shape
│   └── UnsupportedGraph       2   a graph that cannot be typed, or fed, as asked; other rows of a table still can
├── GateFailed                 3   parity or another gate did not hold
│   └── Float16Overflow        3   a weight or another constant is outside float16's range
├── BackendMissing             4   a library or device that the request needs is not here
├── UntrustedArtifact          5   a file that is malformed, corrupt or not ours to run
├── ExportFailed               1   torch.onnx could not trace the network
├── BuildFailed                1   a compiler rejected a typed graph
├── PrecisionUndecided         1   `best` cannot be decided here
├── StoreFailed                1   the artifact store cannot be read or written
└── ExecutionFailed            1   a session could not run
    ├── InvalidFeed            1   an unknown input, a wrong dtype, a shape outside the profile
    ├── WorkerCrashed          1   a library ended the process that it ran in
    └── DeviceOutOfMemory      1   an allocation on the device failed

DeploykitWarning is what Python code is warned with: the request can be done, and its answer has a weakness.
UnreadOption is one of them: an option has no effect.
"""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from deploykit.quote import quoted, shortened

LONGEST_QUOTE = 200  # characters that a message quotes of a library's
MANY = 10_000  # names that are not compared letter by letter
LISTED = 80  # names in a hint before "and n more"
DEBUG_VARIABLE = "DEPLOYKIT_DEBUG"
PACKAGE = Path(__file__).parent


class DeploykitError(Exception):
    """One line for the user: what is wrong and where (`message`), and how to put it right (`hint`).

    Names in it are foreign text: control characters are shown as escapes, and long words lose their middle.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = quoted(message)
        self.hint = quoted(hint)
        super().__init__(self.message, self.hint)

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:  # keyword arguments survive the trip out of a worker process
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[DeploykitError], message: str, hint: str) -> DeploykitError:
    error = kind.__new__(kind)
    DeploykitError.__init__(error, message, hint=hint)
    return error


class UsageError(DeploykitError):
    """The request itself is wrong: an option, a name, a file that is not there."""

    exit_code = 2


class UnknownName(UsageError):
    """No `kind` is called `name`; the hint is `fix`, or lists the nearest of `known`."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, fix: str = "") -> None:
        names = sorted(known)
        near = nearest(name, names)
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        hint = fix or (f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:LISTED])}{more}")
        super().__init__(f"unknown {kind} {name!r}", hint=hint)


def nearest(name: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """What `name` may have meant: the same letters and digits, else a longer or a shorter name, else a similar one."""
    if len(name) > LONGEST_QUOTE:  # to compare it takes as long as it is
        return []
    plain = {each: _plain(each) for each in sorted(known)}
    wanted = _plain(name)
    words = [word for word in re.split(r"[^0-9a-z]+", name.lower()) if len(word) > 3]
    same = [each for each, text in plain.items() if text == wanted]
    longer = [each for each, text in plain.items() if len(wanted) > 2 and wanted in text]
    shorter = [each for each, text in plain.items() if len(text) > 3 and text in wanted]
    similar = difflib.get_close_matches(name.lower(), list(plain), n=most, cutoff=0.5) if len(plain) < MANY else []
    partly = [each for each, text in plain.items() if any(word in text for word in words)]
    return (same or longer or shorter or similar or partly)[:most]


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]", "", name.lower())


class CheckpointMismatch(UsageError):
    """Tensors of a checkpoint are missing, left over or of another shape than the network's."""


class UnsupportedGraph(UsageError):
    """A graph that cannot be typed, or fed, as asked; other rows of a table still can."""


class GateFailed(DeploykitError):
    """Parity, accuracy or another gate did not hold."""

    exit_code = 3


class Float16Overflow(GateFailed):
    """A weight or another constant is outside float16's range."""


class BackendMissing(DeploykitError):
    """A library or device that the request needs is not here; the hint says how to get it."""

    exit_code = 4


class UntrustedArtifact(DeploykitError):
    """A file that is malformed, corrupt or not ours to run."""

    exit_code = 5


class ExportFailed(DeploykitError):
    """torch.onnx could not trace the network."""


class BuildFailed(DeploykitError):
    """A compiler rejected a typed graph."""


class PrecisionUndecided(DeploykitError):
    """The faster precision is not known without a measurement; `result` has the figures of each contender."""

    result: object = None  # lost on the way out of a worker process

    def __init__(self, message: str, *, hint: str = "", result: object) -> None:
        super().__init__(message, hint=hint)
        self.result = result


class StoreFailed(DeploykitError):
    """The artifact store cannot be read or written."""


class ExecutionFailed(DeploykitError):
    """A session could not run."""


class WorkerCrashed(ExecutionFailed):
    """A library ended the process that it ran in, by a signal."""


class InvalidFeed(ExecutionFailed):
    """An unknown input, a wrong dtype, or a shape outside of what the engine takes."""


class DeviceOutOfMemory(ExecutionFailed):
    """An allocation on the device failed."""


class DeploykitWarning(UserWarning):
    """Something that a user should look at before trusting an answer, such as weights that nobody trained."""

    def __init__(self, text: str = "") -> None:
        super().__init__(quoted(text))


class UnreadOption(DeploykitWarning):
    """An option that was given and that nothing reads this time, such as a calibration table at fp32."""


def one_line(error: BaseException) -> str:
    """All that a library said, without line breaks and the middle of a long text; its class where it is silent."""
    return shortened(" ".join(str(error).split()), LONGEST_QUOTE) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line with text, for libraries that let pages of advice follow; the class when there is none."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return shortened(first, LONGEST_QUOTE) or type(error).__name__


def debugging() -> bool:
    """Whether tracebacks are wanted: DEPLOYKIT_DEBUG is set, and not to 0."""
    return os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0")


def own_frame(error: BaseException) -> str | None:
    """The innermost place in deploykit that `error` passed through, `deploykit/export.py:88`; None if there is none."""
    import traceback

    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(PACKAGE):
            return f"{path.relative_to(PACKAGE.parent).as_posix()}:{frame.lineno}"
    return None


def unforeseen(error: BaseException) -> str:
    """An exception that nothing here expected, in one line: its class, what it says, and where it came through."""
    kind, said, where = type(error).__name__, one_line(error), own_frame(error)
    what = kind if said == kind else f"{kind}: {said}"
    return f"internal error: {what}" + (f" (at {where})" if where else "")
