"""What is tried, one case a line: what it is, the file, the command, the exit codes, its seconds and megabytes.

The seconds are those of a processor, so that a loaded machine changes nothing.
`{file}` in the command is the file's path. The megabytes are the most that the process may hold, its libraries with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from hostile_files import (
    ESCAPE,
    Make,
    content,
    copies,
    folder,
    full_directory,
    graph,
    growing_keys,
    gzip_bomb,
    link,
    long_header,
    many_histograms,
    npy_header,
    npz,
    pipe,
    png,
    shard,
    sparse,
    tensors,
)  # fmt: skip

USAGE, UNTRUSTED = (2,), (5,)
REFUSED = (2, 5)
GPUS = "build test_convnet --target t4 --gpu-table {file}"
COMPARE = "compare {file} {file}"
MERGE = "calibrate merge {file} -o table.json"
WEIGHTS = "export test_convnet --weights {file}"
EVALUATE = "evaluate test_convnet --backends ort --data {file}"
CALIBRATE = "calibrate test_convnet --images 4 --data {file}"
EXPORT = "export {file}"
IDX = bytes((0, 0, 8, 3)) + (2_000_000).to_bytes(4, "big") + (32).to_bytes(4, "big") * 2
SMALL = ("images.npy", npy_header("|u1", (4, 8, 8)), 256)
LONG = "n" * 10_000_000
GB = 10**9


def wide(name: str) -> Make:
    return png(name, 10_000, 9_999)


def high(name: str) -> Make:
    return png(name, 9_999, 10_000)


@dataclass(frozen=True)
class Case:
    what: str
    make: Make
    command: str
    codes: tuple[int, ...] = REFUSED
    seconds: float = 10
    megabytes: int = 200

    def __str__(self) -> str:
        return self.what.replace(" ", "-")


@dataclass(frozen=True)
class Large(Case):
    """A case that imports ONNX or PyTorch, or makes a file of gigabytes."""

    seconds: float = 30
    megabytes: int = 1500


QUICK = [
    Case("a pipe as a GPU table", pipe("gpus.toml"), GPUS, USAGE),
    Case("an endless GPU table", link("gpus.toml", "/dev/zero"), GPUS, USAGE),
    Case("a GPU table of 200 MB", sparse("gpus.toml", 200_000_000), GPUS, UNTRUSTED),
    Case("a GPU table with 100,000 levels", content("gpus.toml", "a = " + "[" * 100_000), GPUS, UNTRUSTED),
    Case("a GPU table with tables in each other", content("gpus.toml", "a = " + "{a = " * 5000), GPUS, UNTRUSTED),
    Case("dotted keys that grow", content("gpus.toml", growing_keys(1500)), GPUS, UNTRUSTED),
    Case("a number of 5,000 digits", content("gpus.toml", "[t4]\nint8_tops = " + "9" * 5000), GPUS, UNTRUSTED),
    Case("a hexadecimal number of 1 MB", content("gpus.toml", "[t4]\nint8_tops = 0x" + "f" * 10**6), GPUS, UNTRUSTED),
    Case("escapes in a key", content("gpus.toml", '[t4]\n"\\u001B[31mred\\u0007" = 1'), GPUS, USAGE),
    Case("a key of 4 MB", content("gpus.toml", "[t4]\n" + "k" * 4_000_000 + " = 1"), GPUS, USAGE),
    Case("a pipe as a saved result", pipe("base.json"), COMPARE, USAGE),
    Case("an endless saved result", link("base.json", "/dev/zero"), COMPARE, USAGE),
    Case("a file of /proc as a saved result", link("base.json", "/proc/self/pagemap"), COMPARE, REFUSED),
    Case("a name with escapes", content(f"{ESCAPE}.json", "{}"), COMPARE, UNTRUSTED),
    Case("a name that is no UTF-8", content("\udcff\udc9b.json", "{}"), COMPARE, UNTRUSTED),
    Case("JSON of 100,000 levels", content("base.json", "[" * 100_000), COMPARE, UNTRUSTED),
    Case("keys with escapes", content("base.json", '{"schema_version": "\\u001b[31m"}'), COMPARE),
    Case("a pipe as a shard", pipe("part.json"), MERGE, USAGE),
    Case("20,000 histograms", shard("part.json", many_histograms(20_000)), MERGE, UNTRUSTED),
    Case("a list for histograms", shard("part.json", lambda: [0] * 3_000_000), MERGE, UNTRUSTED, megabytes=300),
    Case("an unheard-of key of 5 MB", shard("part.json", {"x" * 5_000_000: 1}), MERGE, UNTRUSTED),
    Case("an output name of 300 characters", content("x", ""), f"export test_convnet -o {'o' * 300}.onnx", USAGE),
    Case("a MODEL of 300 characters", content("x", ""), f"export {'m' * 300}.onnx", USAGE),
    Case("arguments 60,000 deep", content("x", ""), f"export a.b:c --factory-args {'[' * 60_000}", USAGE),
    Case("a Python file that is a pipe", pipe("net.py"), EXPORT, USAGE),
    Case("a Python file that is endless", link("net.py", "/dev/zero"), EXPORT, USAGE),
    Case("an engine that is a pipe", pipe("net.engine"), "inspect {file}", USAGE),
]

FULL = [
    # no plain file
    Large("a pipe as MODEL", pipe("net.onnx"), EXPORT, USAGE),
    Large("an endless MODEL", link("net.onnx", "/dev/zero"), EXPORT, USAGE),
    Large("a pipe as weights", pipe("net.pth"), WEIGHTS, USAGE),
    Large("endless weights", link("net.pth", "/dev/zero"), WEIGHTS, USAGE),
    Large("weights of a terabyte", sparse("net.pth", 10**12), WEIGHTS, UNTRUSTED),
    Large("weights that are zeros", sparse("net.pth", 15 * GB), WEIGHTS, UNTRUSTED),
    Large("an engine of a terabyte", sparse("net.engine", 10**12), "inspect {file}", UNTRUSTED),
    Large("a pipe as data", pipe("set.npz"), CALIBRATE, USAGE),
    Large("a pipe as a recipe", pipe("set.toml"), CALIBRATE, USAGE),
    Large("an endless recipe", link("set.toml", "/dev/zero"), CALIBRATE, USAGE),
    Large("a pipe as a table", pipe("t.json"), "build test_convnet --precision int8 --table {file}", USAGE, 20, 900),
    Large("a pipe as accuracy", pipe("a.json"), "bench test_convnet --backends ort --accuracy {file}", USAGE, 20, 900),
    Large("images that are pipes", folder("set", pipe("a.png"), pipe("b.png")), CALIBRATE, USAGE),
    Large(
        "images that are endless", folder("set", link("a.png", "/dev/zero"), link("b.png", "/dev/zero")),
        CALIBRATE, USAGE,
    ),
    Large(
        "images of a terabyte", folder("set", sparse("a.png", 10**12), sparse("b.png", 10**12)),
        CALIBRATE, USAGE,
    ),
    # names
    Large("a node with escapes", graph("net.onnx", node=ESCAPE, operator="Rel"), EXPORT),
    Large("an operator with escapes", graph("net.onnx", operator=ESCAPE), EXPORT),
    Large("an operator of 10 MB", graph("net.onnx", operator=LONG), EXPORT),
    Large("a key with escapes", tensors("net.safetensors", ESCAPE), WEIGHTS, seconds=20),
    Large("a key of 5 MB", tensors("net.safetensors", LONG[:5_000_000]), WEIGHTS, seconds=20),
    Large("100,000 keys", tensors("net.safetensors", *map(str, range(100_000))), WEIGHTS, seconds=30, megabytes=1200),
    # data
    Large(
        "2 GB in an .npz", npz("set.npz", ("images.npy", npy_header("<f8", (GB // 4,)), 2 * GB)),
        CALIBRATE, UNTRUSTED,
    ),
    Large(
        "2 GB beside the images",
        npz("set.npz", SMALL, ("x.npy", npy_header("|u1", (2 * GB,)), 2 * GB)),
        CALIBRATE, UNTRUSTED,
    ),
    Large("a header of 1.5 GB", long_header("set.npz", 1_500_000_000), CALIBRATE, UNTRUSTED),
    Large("a header of 60 MB", long_header("set.npz", 60_000_000), CALIBRATE, UNTRUSTED),
    Large("an archive of a million members", full_directory("set.npz", 10**6), CALIBRATE, UNTRUSTED),
    Large("weights of a million members", full_directory("net.pth", 10**6), WEIGHTS, UNTRUSTED),
    Large(
        "2 GB in a gzip", folder("set", gzip_bomb("train-images-idx3-ubyte.gz", IDX, 2 * GB)), CALIBRATE, UNTRUSTED,
    ),
    Large(
        "a million rows", npz("set.npz", ("images.npy", npy_header("|u1", (10**6, 1, 1)), 10**6)), CALIBRATE, UNTRUSTED,
    ),
    Large("a recipe of 200 MB", sparse("set.toml", 200_000_000), CALIBRATE, UNTRUSTED),
    Large("a recipe with 100,000 levels", content("set.toml", "a = " + "[" * 100_000), CALIBRATE, UNTRUSTED),
    Large("a recipe whose keys grow", content("set.toml", growing_keys(1500)), CALIBRATE, UNTRUSTED),
    Large(
        "a recipe of the package __main__",
        content("set.toml", '[[image]]\nfile = "a.png"\nname = "a"\npackage = "__main__"\n'), CALIBRATE, USAGE,
    ),
    Large("200 MB of classes", folder("set", folder("a", png("a.png", 8, 8)), folder("b", png("b.png", 8, 8)),
         sparse("classes.txt", 200_000_000)), EVALUATE, UNTRUSTED),
    Large("a million histograms", shard("part.json", many_histograms(10**6)), MERGE, UNTRUSTED, 30, 3000),
    # images, all of one color, which calibration refuses once it has read them
    Large(
        "a picture of 3 x 30,000", folder("set", *(png(f"{n}.png", 3, 30_000 + n) for n in range(4))), CALIBRATE,
        USAGE, 60, 1200,
    ),
    Large(
        "pictures of 100 megapixels",
        folder("set", copies(wide, [f"{n}.png" for n in range(4)]), copies(high, [f"m{n}.png" for n in range(4)])),
        CALIBRATE, USAGE, 120, 1800,
    ),
]  # fmt: skip
