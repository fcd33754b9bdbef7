"""The one door through which foreign files come in; no other module opens a checkpoint, an ONNX file, an
archive of arrays or an image.

What lies behind the door is data: no pickle is ever allowed to run code, no size that a file claims is believed
before it is checked. A missing file is a `UsageError` (exit 2), a file that is not what it says an
`UntrustedArtifact` (exit 5); either is one line.
"""

import gzip
import io
import math
import re
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from deploykit.errors import UntrustedArtifact, UsageError, one_line
from deploykit.io.checkpoint.formats import HEAD_BYTES, Format, recognize
from deploykit.io.checkpoint.harmless import harmless_globals

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from PIL import Image

    from deploykit.io.onnx_vetting import OnnxLimits

NAMED = 3  # names of code that a refusal lists
# Formats whose decoders run in this process alone (Pillow hands others, such as EPS, to outside programs).
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_IMAGE_PIXELS = 100_000_000
MAX_TEXT_BYTES = 256_000_000
MAX_ARRAY_BYTES = 8_000_000_000
IDX_BYTES = 0x08  # idx's code for unsigned bytes


def read_checkpoint(path: Path) -> object:
    """What a checkpoint holds, on the CPU: tables of tensors, perhaps nested; memory-mapped where the format allows it.

    The format is told by content, whatever the suffix (see `checkpoint.formats`). Pickles load with
    `weights_only=True`, without a fallback, and with the harmless types of `checkpoint.harmless` beside torch's own.

    Raises UsageError where there is no such file, and UntrustedArtifact where it is something else than a checkpoint,
    is truncated or would run code.
    """
    _require_file(path, "checkpoint")
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        members = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) and head.startswith(b"PK") else None
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise UntrustedArtifact(f"cannot read checkpoint {path}: {one_line(error)}") from error
    match recognize(path, head, members):
        case Format.SAFETENSORS:
            return _read_safetensors(path)
        case Format.ARRAYS:
            return _read_arrays(path)
        case kind:
            return _read_pickle(path, is_zip=kind is Format.ZIPPED_PICKLE)


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UntrustedArtifact(f"cannot read checkpoint {path}: {one_line(error)}") from error


def _read_arrays(path: Path) -> object:
    import torch

    found = read_npz(path)
    try:
        return {name: torch.from_numpy(array) for name, array in found.items() if array.dtype.kind in "fiub"}
    except (TypeError, ValueError) as error:  # numbers of a width or byte order that torch has not
        raise UntrustedArtifact(f"cannot read checkpoint {path}: {one_line(error)}") from error


def _read_pickle(path: Path, *, is_zip: bool) -> object:
    import torch

    try:
        if is_zip:
            _refuse_compressed(path)
        with (
            warnings.catch_warnings(action="ignore"),  # pickle protocols and sparse tensors are judged later
            torch.serialization.safe_globals(harmless_globals()),
        ):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except UntrustedArtifact:
        raise
    except Exception as error:  # hostile bytes make the unpickler raise anything
        raise _refused_pickle(path, error, _foreign_names(path) if is_zip else ()) from error


def _foreign_names(path: Path) -> Sequence[str]:
    """The functions and classes that a zipped pickle names and that are not allowed, none of them imported."""
    import torch

    try:
        with torch.serialization.safe_globals(harmless_globals()):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # noqa: BLE001 - of damaged bytes nothing can be listed; the first error says what is wrong
        return ()


def _refuse_compressed(path: Path) -> None:
    """torch.save stores its records as they are; a compressed one is a bomb or somebody else's archive."""
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.compress_type != zipfile.ZIP_STORED:
                raise UntrustedArtifact(f"checkpoint {path} has a compressed record {record.filename!r}")


def _refused_pickle(path: Path, error: Exception, foreign: Sequence[str]) -> UntrustedArtifact:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # torch underlines its advice
    hint = "save its state dict as .safetensors, or find an unbroken copy"
    named = foreign or re.findall(r"GLOBAL (\S+) was not an allowed", text)[:1]
    if named:
        code = ", ".join(named[:NAMED]) + (f" and {len(named) - NAMED} more" if len(named) > NAMED else "")
        what = "holds a whole pickled module, which" if any(map(_is_module, named)) else "holds an object that"
        return UntrustedArtifact(
            f"checkpoint {path} {what} would run code when loaded ({code}), so it is refused",
            hint="where its code is at hand and trusted, save the state dict: torch.save(model.state_dict(), path)",
        )
    if foreign_name := re.search(r"GLOBAL (\S+)", text):
        return UntrustedArtifact(
            f"checkpoint {path} would run code when loaded ({foreign_name[1]}), so it is refused", hint=hint
        )
    if "Unsupported operand" in text:
        return UntrustedArtifact(
            f"checkpoint {path} was pickled by a protocol that torch's safe reader does not know",
            hint="save it again as torch.save does by itself, without pickle_protocol=",
        )
    if refusal := re.search(r"WeightsUnpickler error:\s*(.+)", text):
        return UntrustedArtifact(f"checkpoint {path} is not a plain state dict: {refusal[1].strip()}", hint=hint)
    return UntrustedArtifact(f"{path} is not a PyTorch checkpoint, or a damaged one ({one_line(error)})", hint=hint)


def _is_module(name: str) -> bool:
    return name.startswith("torch.nn.modules.")


def read_onnx(path: Path) -> "onnx.ModelProto":
    """An ONNX model as it came, its external data in memory, after nothing was found against it (see `onnx_vetting`).

    What strays from the standard, and runtimes let pass, is still in it: see `onnx_repair`.

    Raises UsageError where there is no such file, and UntrustedArtifact where it is not valid ONNX, would take more
    room than its limits allow, or has data outside its own folder.
    """
    from deploykit.io.onnx_vetting import OnnxLimits, load_external_data, vet_validity, vet_values

    limits = OnnxLimits()
    path = path.absolute()
    model = _parse_onnx(path, limits)
    vet_validity(model, path)
    vet_values(model, path, limits)
    load_external_data(model, path)
    return model


def read_stored_onnx(path: Path) -> "onnx.ModelProto":
    """A graph that deploykit wrote, from its store, which has verified its digest: parsed, and not vetted again."""
    import onnx

    return onnx.load_model_from_string(path.read_bytes())


def external_files(path: Path) -> tuple[Path, ...]:
    """The files beside an ONNX file that hold tensors of it, sorted; vetted, and not read.

    Raises as `read_onnx` does for everything that shows before the tensors' data is looked at.
    """
    from deploykit.io.onnx_vetting import OnnxLimits, locate_external_files

    path = path.absolute()
    return locate_external_files(_parse_onnx(path, OnnxLimits()), path)


def _parse_onnx(path: Path, limits: "OnnxLimits") -> "onnx.ModelProto":
    """The model without its external data, after its structure and the places of that data were vetted."""
    _require_file(path, "ONNX file")
    import onnx

    from deploykit.io.onnx_vetting import vet_model

    size = path.stat().st_size
    if not 0 < size <= limits.file_bytes:
        raise UntrustedArtifact(
            f"{path} is empty" if size == 0 else f"{path} has {size} bytes, more than {limits.file_bytes}",
            hint="" if size == 0 else "keep large weights in an external data file",
        )
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # protobuf's error classes differ between its implementations
        raise UntrustedArtifact(f"{path} is not ONNX, or only a part of it: {one_line(error)}") from error
    vet_model(model, path, limits)
    return model


def read_image(path: Path, *, upright: bool = True) -> "Image.Image":
    """An image as 8-bit RGB, turned the way its EXIF orientation says, or not `upright`, as its pixels lie.

    Raises UsageError where there is no such file, and UntrustedArtifact where it is no image, is cut short, has
    more than `MAX_IMAGE_PIXELS` pixels or holds floating-point values.
    """
    _require_file(path, "image")
    return _decoded(path, str(path), upright=upright)


def read_image_bytes(content: bytes, name: str) -> "Image.Image":
    """`read_image` of the content of a file, which errors call `name`. Raises as that for what is no image."""
    return _decoded(io.BytesIO(content), name, upright=True)


def _decoded(source: "Path | IO[bytes]", name: str, *, upright: bool) -> "Image.Image":
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(source, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise UntrustedArtifact(
                    f"image {name} has {image.width} x {image.height} pixels, more than {MAX_IMAGE_PIXELS}"
                )
            image.load()
            if image.mode == "F":
                raise UntrustedArtifact(f"image {name} holds floating-point values, not 8 or 16-bit ones")
            turned = ImageOps.exif_transpose if upright else Image.Image.copy
            if image.mode.startswith("I"):  # 16 bits of gray, which convert() would clip at 255
                return turned(image.point(lambda value: value * (1 / 256)).convert("L")).convert("RGB")
            return turned(image).convert("RGB")
    except UntrustedArtifact:
        raise
    except UnidentifiedImageError as error:
        formats = ", ".join(IMAGE_FORMATS)
        raise UntrustedArtifact(f"cannot read image {name}: it is cut short, or none of {formats}") from error
    except Exception as error:  # hostile bytes make a decoder raise anything
        raise UntrustedArtifact(f"cannot read image {name}: {one_line(error)}") from error


def read_npz(path: Path) -> "dict[str, np.ndarray[Any, Any]]":
    """The arrays of a NumPy archive by name: plain numbers, never a pickle.

    Raises UsageError where there is no such file, and UntrustedArtifact where it is no such archive, holds objects, is
    damaged, or claims more than `MAX_ARRAY_BYTES` or other sizes than it has.
    """
    _require_file(path, "archive")
    import numpy as np

    if not zipfile.is_zipfile(path):
        raise UntrustedArtifact(f"{path} is not an .npz archive", hint="write it with numpy.savez")
    try:
        with zipfile.ZipFile(path) as archive:
            if (total := sum(member.file_size for member in archive.infolist())) > MAX_ARRAY_BYTES:
                raise UntrustedArtifact(f"{path} unpacks to {total} bytes, more than {MAX_ARRAY_BYTES}")
            for member in archive.infolist():
                _vet_array(path, archive, member)
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except UntrustedArtifact:
        raise
    except Exception as error:  # hostile bytes make the reader raise anything
        raise UntrustedArtifact(f"cannot read {path}: {one_line(error)}") from error


def _vet_array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """The size that an array's header claims is that of its data, and it holds no Python objects."""
    import numpy as np
    from numpy.lib import format as npy

    if not member.filename.endswith(".npy"):
        raise UntrustedArtifact(f"{path} holds {member.filename!r}, which is not an array")
    with archive.open(member) as stream:
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(npy.read_magic(stream))
        if read is None:
            raise UntrustedArtifact(f"{path}: {member.filename} is of an unknown version of NumPy's format")
        shape, _, dtype = read(stream)
        if dtype.hasobject:
            raise UntrustedArtifact(f"{path}: {member.filename} holds Python objects, so it is refused")
        if math.prod(shape) * np.dtype(dtype).itemsize != member.file_size - stream.tell():
            raise UntrustedArtifact(f"{path}: {member.filename} claims {dtype}{list(shape)} and has another size")


def read_idx(path: Path, axes: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """An array of bytes with `axes` axes in the MNIST format (idx), plain or gzipped (`.gz`).

    Raises UsageError where there is no such file, and UntrustedArtifact where it is none, or has another size than its
    header says.
    """
    _require_file(path, "idx file")
    import numpy as np

    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            header = stream.read(4 + 4 * axes)
            if header[:4] != bytes((0, 0, IDX_BYTES, axes)) or len(header) != 4 + 4 * axes:
                raise UntrustedArtifact(f"{path} is not an idx file of bytes with {axes} axes")
            shape = struct.unpack(f">{axes}I", header[4:])
            size = math.prod(shape)
            if size > MAX_ARRAY_BYTES:
                raise UntrustedArtifact(f"{path} claims {size} bytes, more than {MAX_ARRAY_BYTES}")
            content = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UntrustedArtifact(f"cannot read {path}: {one_line(error)}") from error
    if len(content) != size:
        raise UntrustedArtifact(f"{path} claims {'x'.join(map(str, shape))} bytes and has another size")
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_text(path: Path) -> str:
    """A text file of deploykit's own making, UTF-8. Raises UsageError; UntrustedArtifact where it is no text."""
    _require_file(path, "file")
    if (size := path.stat().st_size) > MAX_TEXT_BYTES:
        raise UntrustedArtifact(f"{path} has {size} bytes, more than any table or shard")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UntrustedArtifact(f"{path} is not a text file") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="check the path") from error


def _require_file(path: Path, kind: str) -> None:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise UsageError(f"there is no {kind} {path}", hint="check the path") from error
    if not stat.S_ISREG(mode):
        raise UsageError(f"{kind} {path} is {'a folder' if stat.S_ISDIR(mode) else 'not a file'}")
