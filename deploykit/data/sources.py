"""Images one after the other, as many as there are, for whoever goes through all of them: nothing is held but names.

They come from files, folders, archives and Parquet files, in the order of these and inside each in its own: files of a
folder by name, rows of an archive or a table by number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from deploykit.data.dataset import RawImage, image_paths, open_dataset
from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.io.loader import read_image_bytes
from deploykit.io.parquet import ImageColumn, image_column

if TYPE_CHECKING:
    from PIL import Image

LISTS = (".npz", ".toml")  # files that hold or name several images


class Source(Protocol):
    """One image that is yet to be read."""

    @property
    def name(self) -> str: ...

    def read(self) -> Image.Image:
        """8-bit RGB. Raises UsageError, UntrustedArtifact."""
        ...


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """The content of an image file, without one."""

    name: str
    content: bytes | None

    def read(self) -> Image.Image:
        if self.content is None:
            raise UntrustedArtifact(f"{self.name} is empty")
        return read_image_bytes(self.content, self.name)


class Sources(Protocol):
    """Images of one origin."""

    def __len__(self) -> int: ...

    def names(self) -> Iterator[str]:
        """All of them, in order."""
        ...

    def at(self, places: Sequence[int]) -> Iterator[Source]:
        """Those at rising places, streamed."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """Images that are known one by one."""

    items: Sequence[Source]

    def __len__(self) -> int:
        return len(self.items)

    def names(self) -> Iterator[str]:
        return (item.name for item in self.items)

    def at(self, places: Sequence[int]) -> Iterator[Source]:
        return (self.items[place] for place in places)


@dataclass(frozen=True, slots=True)
class Packed:
    """Images whose bytes are a column of a Parquet file."""

    column: ImageColumn

    def __len__(self) -> int:
        return self.column.rows

    def names(self) -> Iterator[str]:
        return map(self._name, range(len(self)))

    def at(self, places: Sequence[int]) -> Iterator[Source]:
        if not places:
            return
        wanted = iter(places)
        place = next(wanted)
        for row, content in enumerate(self.column.contents(places[0], places[-1] + 1), places[0]):
            if row == place:
                yield ImageBytes(self._name(row), content)
                place = next(wanted, -1)

    def _name(self, row: int) -> str:
        return f"{self.column.path}[{row}]"


@dataclass(frozen=True, slots=True)
class Joined:
    """Images of several origins, one origin after the other."""

    parts: tuple[Sources, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def names(self) -> Iterator[str]:
        return chain.from_iterable(part.names() for part in self.parts)

    def at(self, places: Sequence[int]) -> Iterator[Source]:
        left = iter(places)
        waiting = next(left, None)
        for part, end in zip(self.parts, accumulate(map(len, self.parts)), strict=True):
            begin, mine = end - len(part), []
            while waiting is not None and waiting < end:
                mine.append(waiting - begin)
                waiting = next(left, None)
            yield from part.at(mine)


def open_sources(places: Sequence[Path]) -> Sources:
    """The images of files, folders, `.npz` and `.toml` lists and Parquet files, in this order.

    A file that cannot be read is found when it is its turn. Raises UsageError where there is no such place or no image
    in it, BackendMissing for Parquet without pyarrow, UntrustedArtifact for an archive or table that is damaged.
    """
    if not places:
        raise UsageError("no images are given", hint="name files, folders or a .parquet file")
    parts: list[Sources] = []
    loose: list[Source] = []
    for place in places:
        if not place.exists():
            raise UsageError(f"there is no image or folder {place}", hint="check the path")
        if place.is_dir() or place.suffix.lower() in (*LISTS, ".parquet"):
            if loose:
                parts.append(Listed(loose))
                loose = []
            parts.append(_of_place(place))
        else:
            loose.append(RawImage(str(place), place))
    if loose:
        parts.append(Listed(loose))
    return parts[0] if len(parts) == 1 else Joined(tuple(parts))


def _of_place(place: Path) -> Sources:
    if place.suffix.lower() == ".parquet":
        column = image_column(place)
        if column.content:
            return Packed(column)
        return Listed(
            [RawImage(path or f"{place}[{row}]", Path(path or "")) for row, path in enumerate(column.paths())]
        )
    if place.is_dir():
        return Listed([RawImage(str(path), path) for path in image_paths(place)])
    return Listed(open_dataset(place).images)
