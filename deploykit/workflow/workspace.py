"""Where a command works: the store, the progress it shows, what it warned of, and the seconds that each stage took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar, cast

from deploykit.errors import PACKAGE
from deploykit.host import library_versions
from deploykit.quote import quoted
from deploykit.spec import Progress, silent
from deploykit.store import Entry, Store, Writer
from deploykit.store.key import cache_key, source_digest

LIBRARIES = ("torch", "numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime-gpu", "onnxruntime")
COMPILERS = ("tensorrt", "tensorrt-rtx", "pycuda")

Make = Callable[[Writer], object]  # its answer is kept, and comes back through `Entry.facts_as`
T = TypeVar("T")


def warn_on_stderr(text: str) -> None:
    """Beside the progress, never among the results."""
    sys.stderr.write(f"deploykit: warning: {quoted(text)}\n")


@dataclass
class Workspace:
    """What the stages of one command share. `seconds` lists what was really done this time.

    `warn` gets what a user should look at before trusting an answer, each text once.
    """

    store: Store
    progress: Progress = silent
    warn: Callable[[str], None] = warn_on_stderr
    seconds: dict[str, float] = field(default_factory=dict)
    _warned: set[str] = field(default_factory=set, init=False, repr=False)
    _kept: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def get_or_make(
        self,
        kind: str,
        parts: Mapping[str, Any],
        make: Make,
        *,
        request: Mapping[str, Any],
        facts: type | None = None,
        files: Sequence[str] = (),
    ) -> tuple[Entry, bool]:
        """The entry of `kind` for `parts`, and whether it was there; library versions and our source join the key.

        So a second identical request finds its artifacts without importing a framework. `facts` is the type of what
        `make` returns, `files` are those that it always writes: an entry without them is made again.
        """
        versions = library_versions(LIBRARIES)
        key = cache_key({"kind": kind, **parts, "source": source(), "versions": versions})
        return self.store.get_or_make(kind, key, make, request=request, versions=versions, facts=facts, files=files)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` answers, kept in memory under `key` for as long as this workspace lives."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast(T, self._kept[key])

    def knows(self, key: Hashable) -> bool:
        """Whether `once` has kept something under `key`."""
        return key in self._kept

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Report a stage and remember its seconds."""
        self.progress(stage, 0, 1)
        began = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - began
        self.progress(stage, 1, 1)

    def warn_once(self, text: str) -> None:
        """Hand `text` to `warn`, unless that was done before or it is ""."""
        if text and text not in self._warned:
            self._warned.add(text)
            self.warn(text)


@cache
def source() -> str:
    """The digest of deploykit's own source, which is part of every key."""
    return source_digest(PACKAGE)
