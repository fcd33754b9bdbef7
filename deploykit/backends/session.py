"""What sessions share that run by a binding: they copy in, launch, wait and fetch, and close when they are left."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from deploykit.backends.protocol import FetchableBound
from deploykit.errors import ExecutionFailed
from deploykit.spec import Feed
from deploykit.spec.arrays import Array


class BindingSession(ABC):
    """A session whose `run` is one launch of what `bind` returns; see `protocol.Session`."""

    closed = False

    @abstractmethod
    def bound(self, feed: Feed) -> FetchableBound:
        """Copy the inputs where the device reads them; the session is open."""

    @abstractmethod
    def free(self) -> None:
        """Give back what the session holds."""

    def bind(self, feed: Feed) -> FetchableBound:
        """What `bound` returns. Raises ExecutionFailed when the session is closed."""
        if self.closed:
            raise ExecutionFailed("this session is closed", hint="open the engine again")
        return self.bound(feed)

    def close(self) -> None:
        """Give back what the session holds. A second call does nothing."""
        if not self.closed:
            self.closed = True
            self.free()

    def run(self, feed: Feed) -> dict[str, Array]:
        """Host arrays in, host arrays out, synchronous."""
        bound = self.bind(feed)
        bound.launch()
        bound.synchronize()
        return bound.fetch()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
