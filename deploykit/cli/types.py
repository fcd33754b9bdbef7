"""The values of options: text that is checked where it is read, shown in the help and completed by the shell."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import click
from click.shell_completion import CompletionItem

from deploykit.cli.answers import warn
from deploykit.errors import UnknownName, UsageError
from deploykit.spec import (
    CALIBRATION_METHODS,
    COST_BASED_FUSIONS,
    REPAIRS,
    SAFE_FUSIONS,
    SCENARIOS,
    BatchRange,
    DataSource,
    Fusions,
    Precision,
    PreprocessRequest,
    Repair,
    Synthetic,
    parse_batches,
    parse_input_range,
    parse_input_shape,
    parse_scenarios,
)
from deploykit.spec.preprocessing import PRESETS

Value = TypeVar("Value")
Words = Callable[[], Iterable[str]]
Completions = list[CompletionItem[Any]]
FILE = click.Path(path_type=Path)


class Parsed(click.ParamType[Value], Generic[Value]):
    """Text that `parse` turns into a value.

    The shell completes `words`, after a comma too where `several` may be given, and paths where `files` are values.
    """

    def __init__(
        self,
        parse: Callable[[str], Value],
        words: Words,
        *,
        metavar: str,
        several: bool = False,
        files: bool = False,
    ) -> None:
        self.name = metavar
        self._parse = parse
        self._words = words
        self._several = several
        self._files = files

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - click's signature
        return self.name

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Value:  # noqa: ARG002
        return self._parse(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Completions:  # noqa: ARG002
        before, comma, last = incomplete.rpartition(",") if self._several else ("", "", incomplete)
        given = before.split(",")
        fitting = [word for word in self._words() if word.startswith(last) and word not in given]
        if self._files and not (last and fitting):
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(f"{before}{comma}{word}") for word in fitting]


class OneOf(click.Choice[str]):
    """One of a few names; the error for any other has the nearest of them."""

    def __init__(self, kind: str, names: Sequence[str]) -> None:
        super().__init__(names)
        self._kind = kind

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        asked = value.strip().lower()
        if asked not in self.choices:
            raise UnknownName(self._kind, value, self.choices)
        return asked


class ModelName(click.ParamType[str]):
    """A network: the shell completes the names of the zoo and `.onnx` files."""

    name = "MODEL"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Completions:  # noqa: ARG002
        """Directories are left to the shell, which goes on behind their names."""
        from deploykit.zoo.registry import cards

        names = [name for name, card in cards().items() if name.startswith(incomplete) and not card.is_miniature]
        start = Path(f"{incomplete}x").parent
        shown = "" if "/" not in incomplete else f"{incomplete.rpartition('/')[0]}/"
        files = sorted(f"{shown}{path.name}" for path in start.expanduser().glob("*.onnx"))
        found = [*names, *(path for path in files if path.startswith(incomplete))]
        return [CompletionItem(word) for word in found] or [CompletionItem(incomplete, type="file")]


def parse_data(text: str) -> DataSource:
    """A place, or noise; a folder of that name is written ./noise."""
    return Synthetic.NOISE if text == Synthetic.NOISE else Path(text)


def parse_output(text: str) -> Path:
    """Rejects a place that cannot be written to before any work is done for it."""
    path = Path(text)
    if not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write {path}: {path.parent} is not a folder", hint="create it, or give another path")
    try:
        path.lstat()
    except FileNotFoundError:
        pass  # as it should be
    except OSError as error:  # too long a name
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="give another path") from error
    return path


def parse_page(text: str) -> Path:
    from deploykit.api.pages import page_path

    return page_path(text)


def parse_repair(text: str) -> Repair:
    if "equalise" in text:
        warn("--int8-repair equalise is now called equalize")
    return Repair.parse(text.replace("equalise", "equalize"))


def parse_streams(text: str) -> int | None:
    """None where TensorRT decides."""
    if text not in STREAM_WORDS:
        raise UsageError(f"--max-aux-streams {text} is not one of {', '.join(STREAM_WORDS)}", hint="0 is the default")
    return None if text == AUTO else int(text)


def parse_precisions(text: str) -> tuple[Precision, ...]:
    return tuple(dict.fromkeys(Precision.parse(part) for part in _parts(text, "--precision")))


def parse_backends(text: str) -> tuple[str, ...]:
    """Names, checked to exist before any work starts."""
    from deploykit.api.choices import backends_of

    return backends_of(_parts(text, "--backends"))


def parse_backend(text: str) -> str:
    """A name, checked to exist before any work starts."""
    from deploykit.api.choices import backends_of

    (name,) = backends_of([text])
    return name


def parse_rows(text: str) -> Path:
    """Rejects a file of rows that cannot be written before any work is done for it."""
    from deploykit.api.predictions import rows_path

    return rows_path(text)


def parse_compiler(text: str) -> str:
    from deploykit.api.choices import compiles

    if not compiles(text):
        raise UsageError(f"backend {text} does not compile engines", hint="use trt or trt-rtx, or `deploykit export`")
    return text


def _parts(text: str, option: str) -> list[str]:
    parts = [part.strip().lower() for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError(f"{option} is empty", hint="give one or more names, separated by commas")
    return parts


def backend_words() -> Iterable[str]:
    from deploykit.api.choices import backend_names

    return backend_names()


def gpu_words() -> Iterable[str]:
    from deploykit.api.choices import gpu_names

    return gpu_names()


def words(*fixed: str) -> Words:
    return lambda: fixed


TORCHVISION, SEEDED, AUTO = "torchvision", "seeded", "auto"
STREAM_WORDS = (*"01234567", AUTO)
BATCH = Parsed(lambda text: (BatchRange.parse(text),), words(), metavar="N|MIN:OPT:MAX")
BATCHES = Parsed(parse_batches, words(), metavar="N,...|MIN:OPT:MAX")
PRECISION = Parsed(Precision.parse, words(*Precision), metavar="[fp32|fp16|int8]")
PRECISIONS = Parsed(parse_precisions, words(*Precision), metavar="[fp32|fp16|int8],...", several=True)
BACKENDS = Parsed(parse_backends, backend_words, metavar="[torch|ort|trt|trt-rtx],...", several=True)
BACKEND = Parsed(str, backend_words, metavar="BACKEND")
ONE_BACKEND = Parsed(parse_backend, backend_words, metavar="[torch|ort|trt|trt-rtx]")
COMPILER = Parsed(parse_compiler, words("trt", "trt-rtx"), metavar="[trt|trt-rtx]")
GPU = Parsed(str, gpu_words, metavar="SM|GPU")
STREAMS = Parsed(parse_streams, words(*STREAM_WORDS), metavar="[0-7|auto]")
FUSIONS = Parsed(
    Fusions.parse,
    words("none", "safe", "auto", *SAFE_FUSIONS, *COST_BASED_FUSIONS),
    metavar="none|safe|auto|NAMES",
    several=True,
)
FIXED_FUSIONS = Parsed(
    Fusions.parse,
    words("none", "safe", *SAFE_FUSIONS, *COST_BASED_FUSIONS),
    metavar="none|safe|NAMES",
    several=True,
)
LOADS = Parsed(
    parse_scenarios,
    words(*SCENARIOS),
    metavar="NAME,...",
    several=True,
)
REPAIR = Parsed(parse_repair, words("none", "all", *REPAIRS), metavar="none|all|NAMES", several=True)
DATA = Parsed(parse_data, words(Synthetic.NOISE), metavar="PATH|noise", files=True)
METHOD = OneOf("calibration method", CALIBRATION_METHODS)
PAGE = Parsed(parse_page, words(), metavar="FILE", files=True)
ROWS = Parsed(parse_rows, words(), metavar="FILE", files=True)
OUTPUT = Parsed(parse_output, words(), metavar="FILE", files=True)
WEIGHTS = Parsed(str, words(TORCHVISION, SEEDED), metavar="FILE|NAME", files=True)
PREPROCESSING = Parsed(PreprocessRequest.parse, words(*PRESETS), metavar="SETTINGS")
INPUT_SHAPE = Parsed(parse_input_shape, words(), metavar="SHAPE")
INPUT_RANGE = Parsed(parse_input_range, words(), metavar="NAME=LOW:HIGH")
