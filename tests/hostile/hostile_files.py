"""Makes of files that mean harm, or are broken: each function returns one that puts its file into a folder.

`write = pipe("net.onnx")`, then `write(folder)` makes the file and gives its path.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

Make = Callable[[Path], Path]

ESCAPE = "\x1b[31mred\x1b]0;title\x07\u202e\x9b1m"
SHARD = {
    "schema_version": 1, "graph_digest": "0" * 64, "data_digest": "0" * 64, "preprocessing": "", "batches": 1,
    "shard": [0, 1], "done": 1, "images": 1,
}  # fmt: skip
COUNTS = {"exponent": -11, "first": 2048, "counts": [1], "lo": 1.0, "hi": 1.0}


def pipe(name: str) -> Make:
    def make(folder: Path) -> Path:
        os.mkfifo(folder / name)
        return folder / name

    return make


def link(name: str, target: str) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).symlink_to(target)
        return folder / name

    return make


def folder(name: str, *parts: Make) -> Make:
    def make(parent: Path) -> Path:
        place = parent / name
        place.mkdir(parents=True)
        for part in parts:
            part(place)
        return place

    return make


def content(name: str, found: str | bytes | Callable[[], str | bytes]) -> Make:
    """A file of so much text or bytes, which are made when they are needed."""

    def make(parent: Path) -> Path:
        made = found() if callable(found) else found
        (parent / name).write_bytes(made.encode() if isinstance(made, str) else made)
        return parent / name

    return make


def sparse(name: str, size: int, head: bytes = b"") -> Make:
    """`size` bytes, all zero but for the `head`, that take no room on the disk."""

    def make(parent: Path) -> Path:
        with (parent / name).open("wb") as file:
            file.write(head)
            file.truncate(size)
        return parent / name

    return make


# Archives


def npy_header(descr: str, shape: tuple[int, ...], version: int = 1) -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


def npz(name: str, *members: tuple[str, bytes, int]) -> Make:
    """An archive; a member is its name, how it begins, and how many zeros follow."""

    def make(parent: Path) -> Path:
        with zipfile.ZipFile(parent / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for member, head, zeros in members:
                with archive.open(member, "w", force_zip64=True) as stream:
                    stream.write(head)
                    for _ in range(zeros >> 20):
                        stream.write(bytes(1 << 20))
                    stream.write(bytes(zeros & ((1 << 20) - 1)))
        return parent / name

    return make


def long_header(name: str, length: int) -> Make:
    """An array whose header says that it is so long, and is."""
    return npz(name, ("images.npy", b"\x93NUMPY\2\0" + struct.pack("<I", length), length))


def full_directory(name: str, members: int) -> Make:
    """An archive whose directory lists so many members; none of them is there."""

    def make(parent: Path) -> Path:
        entry = b"PK\1\2" + bytes(24) + struct.pack("<H", 4) + bytes(16) + b"x.py"
        with (parent / name).open("wb") as file:
            file.write(entry * members)
            size = len(entry) * members
            file.write(b"PK\5\6" + bytes(4) + struct.pack("<HHIIH", members & 0xFFFF, members & 0xFFFF, size, 0, 0))
        return parent / name

    return make


def gzip_bomb(name: str, head: bytes, zeros: int) -> Make:
    def make(parent: Path) -> Path:
        with gzip.open(parent / name, "wb", compresslevel=1) as stream:
            stream.write(head)
            for _ in range(zeros >> 20):
                stream.write(bytes(1 << 20))
        return parent / name

    return make


# Images


def png(name: str, width: int, height: int) -> Make:
    """A black picture in RGB; its pixels are sound."""

    def make(parent: Path) -> Path:
        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        packer = zlib.compressobj(1)
        line = bytes(1 + 3 * width)
        packed = b"".join([*(packer.compress(line) for _ in range(height)), packer.flush()])
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        (parent / name).write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
        )
        return parent / name

    return make


def copies(make_one: Callable[[str], Make], names: Iterable[str]) -> Callable[[Path], None]:
    """The first is made, the others are hard links to it."""

    def make(parent: Path) -> None:
        first, *others = names
        original = make_one(first)(parent)
        for name in others:
            (parent / name).hardlink_to(original)

    return make


# Graphs and checkpoints


def graph(name: str, *, node: str = "n", operator: str = "Relu", output: str = "y", producer: str = "") -> Make:
    """An ONNX file of one operator over images."""

    def make(parent: Path) -> Path:
        from onnx import TensorProto, helper

        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])
        made = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", 3, 8, 8])
        body = helper.make_graph([helper.make_node(operator, ["x"], [output], name=node)], "g", [given], [made])
        model = helper.make_model(
            body, ir_version=10, opset_imports=[helper.make_opsetid("", 20)], producer_name=producer
        )
        (parent / name).write_bytes(model.SerializeToString())
        return parent / name

    return make


def tensors(name: str, *keys: str) -> Make:
    """A .safetensors file with a number under each key."""

    def make(parent: Path) -> Path:
        table = {
            key: {"dtype": "F32", "shape": [1], "data_offsets": [4 * index, 4 * index + 4]}
            for index, key in enumerate(keys)
        }
        head = json.dumps(table).encode()
        (parent / name).write_bytes(struct.pack("<Q", len(head)) + head + bytes(4 * len(keys)))
        return parent / name

    return make


# Texts


def shard(name: str, histograms: object) -> Make:
    """A shard with whatever is in the place of its histograms, which is made when it is needed."""

    def make(parent: Path) -> Path:
        found = histograms() if callable(histograms) else histograms
        (parent / name).write_text(json.dumps(SHARD | {"histograms": found}))
        return parent / name

    return make


def many_histograms(count: int) -> Callable[[], dict[str, object]]:
    return lambda: {f"v{index}": COUNTS for index in range(count)}


def growing_keys(lines: int) -> str:
    """Dotted keys, each a part longer than the one before."""
    return "".join("a." * number + f"b{number} = 1\n" for number in range(1, lines))
