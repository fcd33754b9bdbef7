"""What a file that is given as a checkpoint really is, told by its content and never by its suffix.

Training scripts call their files `.pth`, `.pt`, `.ckpt`, `.pth.tar`, `.bin` or nothing at all, and a download that
failed is a web page of any name. What cannot be a table of tensors is named, with what to do about it.
"""

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path, PurePosixPath

from deploykit.errors import UntrustedArtifact

HEAD_BYTES = 1024  # of a file, enough to tell every format below
MAX_HEADER_BYTES = 100_000_000  # of safetensors' JSON, the limit of its own reader
SAVE_STATE = 'torch.save(model.state_dict(), "weights.pth")'
ONNX_VERSIONS = range(2, 32)  # of its intermediate representation; 13 is the newest, 1 that of TensorFlow's SavedModel

# First bytes -> what such a file is, and what to do with it.
MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file it stands for", "fetch that: git lfs pull"),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras writes",
        "convert it: tf2onnx makes an .onnx file, which is a MODEL",
    ),
    (b"\x93NUMPY", "one NumPy array without a name", "write named arrays: numpy.savez(path, **arrays)"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first"),
    (b"BZh", "compressed with bzip2", "unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it, and name the checkpoint inside"),
    (b"Rar!", "a RAR archive", "unpack it, and name the checkpoint inside"),
    (b"GGUF", "a GGUF file, whose weights are quantized for llama.cpp", "give the checkpoint that it was made from"),
    (b"%PDF", "a PDF", "check the download"),
    (b"\x89PNG", "an image", "images are given with --data"),
    (b"\xff\xd8\xff", "an image", "images are given with --data"),
)
MARKUP = re.compile(rb"<(?:!doctype\s+html|html|head|body)", re.IGNORECASE)
COMMENT, END_OF_COMMENT = b"<!--", b"-->"
XML = re.compile(rb"\s*<\?xml")
TAR_MAGIC, TAR_OFFSET = b"ustar", 257
CHECKPOINTS = {".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".npz", ".tar"}


class Format(StrEnum):
    """How a table of tensors can lie in a file."""

    SAFETENSORS = "safetensors"
    ARRAYS = "npz"
    ZIPPED_PICKLE = "zipped pickle"
    PICKLE = "pickle"


def recognize(path: Path, head: bytes, members: Sequence[str] | None) -> Format:
    """The format of the file that begins with `head` (`HEAD_BYTES` of it) and, where it is a zip, has these members.

    Raises UntrustedArtifact for everything that is no checkpoint, named.
    """
    if not head:
        raise UntrustedArtifact(f"checkpoint {path} is empty", hint="find an unbroken copy")
    if members is not None:
        return _zipped(path, members)
    if not head.strip(b"\0"):
        raise _refused(path, "zeros, as a download leaves that did not finish", "download it anew")
    for magic, what, fix in MAGIC:
        if head.startswith(magic):
            raise _refused(path, what, fix)
    if head[TAR_OFFSET:].startswith(TAR_MAGIC):
        raise _refused(path, "a tar archive", "unpack it, and name the checkpoint inside")
    if MARKUP.match(_without_comments(head)):
        raise _refused(path, "an HTML page, so the download gave a page in place of the file", "download it anew")
    if XML.match(head):
        raise _refused(
            path, "an XML file, so the download gave an error message or OpenVINO's graph", "download it anew"
        )
    if _is_safetensors(head):
        return Format.SAFETENSORS
    if head[4:8] == b"TFL3":
        raise _refused(path, "a TensorFlow Lite model", "convert it: tf2onnx makes an .onnx file, which is a MODEL")
    if path.name.endswith(".index") or re.search(r"\.data-\d{5}-of-\d{5}$", path.name):
        raise _refused(path, "a part of a TensorFlow checkpoint", "convert it: tf2onnx makes an .onnx file")
    if head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x3a"):  # field 1 a number, then a text or the graph
        if head[1] in ONNX_VERSIONS:
            raise _refused(path, "an ONNX file, which has its weights in it", f"give it as the MODEL: {path}")
        raise _refused(path, "a TensorFlow SavedModel", "convert it: tf2onnx makes an .onnx file, which is a MODEL")
    if head.lstrip()[:1] in (b"{", b"["):
        raise _refused(path, *_json(head))
    return Format.PICKLE


def _without_comments(head: bytes) -> bytes:
    """What follows blanks and comments of markup. A loop, for a pattern would try every way to pair their ends."""
    rest = head.lstrip()
    while rest.startswith(COMMENT):
        rest = rest.partition(END_OF_COMMENT)[2].lstrip()
    return rest


def _is_safetensors(head: bytes) -> bool:
    return 2 <= int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES and head[8:9] == b"{"


def _zipped(path: Path, members: Sequence[str]) -> Format:
    names = {PurePosixPath(member).name for member in members}
    folders = {part for member in members for part in PurePosixPath(member).parts[:-1]}
    if "constants.pkl" in names and "code" in folders:
        fix = f'save its state dict: torch.save(torch.jit.load("{path.name}").state_dict(), "weights.pth")'
        raise _refused(path, "a TorchScript archive, which holds code", fix)
    if "data.pkl" in names:
        return Format.ZIPPED_PICKLE
    if members and all(member.endswith(".npy") for member in members):
        return Format.ARRAYS
    if "archive_format" in names or "serialized_exported_program.json" in names:
        raise _refused(path, "a program of torch.export, which is code", f"save its state dict: {SAVE_STATE}")
    if "model.weights.h5" in names:
        raise _refused(path, "a Keras model", "convert it: tf2onnx makes an .onnx file, which is a MODEL")
    inside = [member for member in members if PurePosixPath(member).suffix in CHECKPOINTS]
    fix = f"unpack it, and name the checkpoint inside{f': {inside[0]}' if inside else ''}"
    raise _refused(path, f"a zip archive of {len(members)} files", fix)


def _json(head: bytes) -> tuple[str, str]:
    if b'"weight_map"' in head or b'"metadata"' in head:
        return "an index of a checkpoint in parts", f"join the parts: load each, and {SAVE_STATE}"
    try:
        json.loads(head)
    except ValueError:
        return "text that begins as JSON does", "give the checkpoint itself"
    return "a JSON file", "give the checkpoint itself"


def _refused(path: Path, what: str, fix: str) -> UntrustedArtifact:
    return UntrustedArtifact(f"{path} is not a checkpoint but {what}", hint=fix)
