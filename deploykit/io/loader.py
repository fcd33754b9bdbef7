"""Checkpoints, ONNX files, images and texts from elsewhere; with `arrays` and `toml_file` the one way in for them.

What lies behind the door is data: no pickle is ever allowed to run code, no size that a file claims is believed
before it is checked. A missing file is a `UsageError` (exit 2), a file that is not what it says an
`UntrustedArtifact` (exit 5); either is one line.
"""

import io
import os
import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from deploykit import limits
from deploykit.errors import UntrustedArtifact, one_line
from deploykit.io.arrays import read_npz, require_directory
from deploykit.io.checkpoint.formats import HEAD_BYTES, Format, recognize
from deploykit.io.checkpoint.harmless import harmless_globals
from deploykit.io.door import open_file, read_file
from deploykit.limits import Limit

if TYPE_CHECKING:
    import onnx
    from PIL import Image

    from deploykit.io.onnx_vetting import OnnxLimits

TENSOR_BYTES = 256  # that a checkpoint takes at most to list a tensor
START_OF_SCAN = b"\xff\xda"
SCANS = 20  # of the largest image that a progressive JPEG may have
NAMED = 3  # names of code that a refusal lists
# Formats whose decoders run in this process alone (Pillow hands others, such as EPS, to outside programs).
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def read_checkpoint(path: Path) -> object:
    """What a checkpoint holds, on the CPU: tables of tensors, perhaps nested; memory-mapped where the format allows it.

    The format is told by content, whatever the suffix (see `checkpoint.formats`). Pickles load with
    `weights_only=True`, without a fallback, and with the harmless types of `checkpoint.harmless` beside torch's own.

    Raises UsageError where there is no such file, and UntrustedArtifact where it is something else than a checkpoint,
    is truncated or would run code.
    """
    match checkpoint_format(path):
        case Format.SAFETENSORS:
            return _read_safetensors(path)
        case Format.ARRAYS:
            return _read_arrays(path)
        case kind:
            return _read_pickle(path, is_zip=kind is Format.ZIPPED_PICKLE)


def checkpoint_format(path: Path) -> Format:
    """What kind of checkpoint the file is, by its first bytes and its members. Raises as `read_checkpoint`."""
    with open_file(path, "checkpoint") as stream:
        try:
            head = stream.read(HEAD_BYTES)
            members = None
            if head.startswith(b"PK"):
                require_directory(path, stream)
                members = zipfile.ZipFile(stream).namelist() if zipfile.is_zipfile(stream) else None
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise UntrustedArtifact(f"cannot read checkpoint {path}: {one_line(error)}") from error
    return recognize(path, head, members)


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with open_file(path, "checkpoint") as file:
        head = int.from_bytes(file.read(8), "little")
    if head > (most := limits.MEMBERS.value * TENSOR_BYTES):
        raise UntrustedArtifact(
            f"checkpoint {path} lists its tensors in {head} bytes, more than {most}", hint=limits.MEMBERS.hint
        )
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
            _vet_records(path)
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


def _vet_records(path: Path) -> None:
    """torch.save stores its records as they are; a compressed one is a bomb or somebody else's archive.

    The one that is a pickle is read step by step, a microsecond each.
    """
    most = limits.MEMBERS.value * TENSOR_BYTES
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.compress_type != zipfile.ZIP_STORED:
                raise UntrustedArtifact(f"checkpoint {path} has a compressed record {record.filename!r}")
            if record.filename.endswith(".pkl") and record.file_size > most:
                raise UntrustedArtifact(
                    f"checkpoint {path} lists its tensors in {record.file_size} bytes, more than {most}",
                    hint=limits.MEMBERS.hint,
                )


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

    bounds = OnnxLimits()
    path = path.absolute()
    model = _parse_onnx(path, bounds)
    vet_validity(model, path)
    vet_values(model, path, bounds)
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


def _parse_onnx(path: Path, bounds: "OnnxLimits") -> "onnx.ModelProto":
    """The model without its external data, after its structure and the places of that data were vetted."""
    import onnx

    from deploykit.io.onnx_vetting import vet_model

    with open_file(path, "ONNX file") as file:
        size = os.fstat(file.fileno()).st_size
    if not 0 < size <= bounds.file_bytes:
        raise UntrustedArtifact(
            f"{path} is empty" if size == 0 else f"{path} has {size} bytes, more than {bounds.file_bytes}",
            hint="" if size == 0 else "keep large weights in an external data file",
        )
    content = read_file(path, "ONNX file")
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's error classes differ between its implementations
        raise UntrustedArtifact(f"{path} is not ONNX, or only a part of it: {one_line(error)}") from error
    vet_model(model, path, bounds)
    return model


def read_image(path: Path, *, upright: bool = True) -> "Image.Image":
    """An image as 8-bit RGB, turned the way its EXIF orientation says, or not `upright`, as its pixels lie.

    Raises UsageError where there is no such file, and UntrustedArtifact where it is no image, is cut short, has
    more than `limits.IMAGE_PIXELS` pixels or holds floating-point values.
    """
    with open_file(path, "image", limit=limits.IMAGE_BYTES) as file:
        return _decoded(file, str(path), upright=upright)


def read_image_bytes(content: bytes, name: str) -> "Image.Image":
    """`read_image` of the content of a file, which errors call `name`. Raises as that for what is no image."""
    return _decoded(io.BytesIO(content), name, upright=True)


def _decoded(file: BinaryIO, name: str, *, upright: bool) -> "Image.Image":
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=IMAGE_FORMATS) as image:
            _require_few_scans(image, file, name)
            return _rgb(image, name, upright=upright)
    except UntrustedArtifact:
        raise
    except UnidentifiedImageError as error:
        formats = ", ".join(IMAGE_FORMATS)
        raise UntrustedArtifact(f"cannot read image {name}: it is cut short, or none of {formats}") from error
    except Exception as error:  # hostile bytes make a decoder raise anything
        raise UntrustedArtifact(f"cannot read image {name}: {one_line(error)}") from error


def _rgb(image: "Image.Image", name: str, *, upright: bool) -> "Image.Image":
    """8-bit RGB; of a large image there are two copies at a time, and no more."""
    from PIL import Image, ImageOps

    if image.width * image.height > (most := limits.IMAGE_PIXELS.value):
        raise UntrustedArtifact(
            f"image {name} has {image.width} x {image.height} pixels, more than {most}", hint=limits.IMAGE_PIXELS.hint
        )
    image.load()
    if image.mode == "F":
        raise UntrustedArtifact(f"image {name} holds floating-point values, not 8 or 16-bit ones")
    turned = ImageOps.exif_transpose(image) if upright else Image.Image.copy(image)
    image.close()
    if turned.mode.startswith("I"):  # 16 bits of gray, which convert() would clip at 255
        turned = turned.point(lambda value: value * (1 / 256)).convert("L")
    return turned if turned.mode == "RGB" else turned.convert("RGB")


def _require_few_scans(image: "Image.Image", file: BinaryIO, name: str) -> None:
    """A progressive JPEG of some kilobytes can ask for a thousand passes over all of its pixels."""
    if image.format != "JPEG" or not image.info.get("progressive"):
        return
    place = file.tell()
    file.seek(0)
    scans = file.read().count(START_OF_SCAN)
    file.seek(place)
    if image.width * image.height * scans > SCANS * limits.IMAGE_PIXELS.value:
        raise UntrustedArtifact(
            f"image {name} has {scans} scans of {image.width} x {image.height} pixels",
            hint="save it as a baseline JPEG",
        )


def read_text(path: Path, *, limit: Limit = limits.TEXT_BYTES) -> str:
    """A text file, UTF-8. Raises UsageError; UntrustedArtifact where it is no text, or has more bytes than `limit`."""
    try:
        return read_file(path, "file", limit=limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UntrustedArtifact(f"{path} is not a text file") from error
