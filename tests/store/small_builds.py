"""An engine of seven bytes, what a store holds of it, and what can happen to that."""

import json
import os
from dataclasses import dataclass

from deploykit.store.files import forget_digests
from deploykit.store.seal import sealed

KEY = "ab" * 32
OTHER = "cd" * 32
SECRET = b"a key of thirty-two bytes, or so"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the maker returns."""

    kernels: int


def make_engine(writer):
    writer.write("net.engine", b"\x00engine")
    writer.path("build.log").write_text("fused 3 kernels")
    return {"kernels": 58}


def build(store, key=KEY, make=make_engine):
    return store.get_or_make(
        "engine",
        key,
        make,
        request={"model": {"name": "lenet5"}, "precision": "fp16"},
        versions={"onnx": "1.23"},
        facts=Facts if make is make_engine else None,
        files=("net.engine",) if make is make_engine else (),
    )


def manifest_path(store, key=KEY):
    return store.root / f"entries/engine/{key}.json"


def reseal(store, change, key=KEY):
    """Rewrite a manifest as somebody would who knows how it is sealed, and not the store's key."""
    content = json.loads(manifest_path(store, key).read_bytes())
    del content["seal"]
    change(content)
    manifest_path(store, key).write_bytes(sealed(content, None))


def flip_bit(path, position, bit=0):
    """Change one bit of a file, as a disk does: its size and times stay as they were."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    forget_digests()


def files_under(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def leftovers(root):
    """Everything but lock files: what a failed build must not leave."""
    return [name for name in files_under(root) if not name.startswith("locks/")]
