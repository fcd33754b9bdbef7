"""What is tried, one case a line: what it is, the file, the command, the exit codes, its seconds and megabytes.

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
LONG = "n" * 10_000_000
GB = 10**9


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


QUICK = [
    Case("a pipe as a GPU table", pipe("gpus.toml"), GPUS, USAGE),
    Case("an endless GPU table", link("gpus.toml", "/dev/zero"), GPUS, USAGE),
    Case("a GPU table of 200 MB", sparse("gpus.toml", 200_000_000), GPUS, UNTRUSTED),
    Case("a GPU table with 100,000 levels", content("gpus.toml", "a = " + "[" * 100_000), GPUS, UNTRUSTED),
    Case("a GPU table with tables in each other", content("gpus.toml", "a = " + "{a = " * 5000), GPUS, UNTRUSTED),
    Case("dotted keys that grow", content("gpus.toml", growing_keys(3000)), GPUS, UNTRUSTED),
    Case("a number of 5,000 digits", content("gpus.toml", "[t4]\nint8_tops = " + "9" * 5000), GPUS, UNTRUSTED),
    Case("a hexadecimal number of 1 MB", content("gpus.toml", "[t4]\nint8_tops = 0x" + "f" * 10**6), GPUS, UNTRUSTED),
    Case("escapes in a key", content("gpus.toml", '[t4]\n"\\u001B[31mred\\u0007" = 1'), GPUS, USAGE),
    Case("a key of 5 MB", content("gpus.toml", "[t4]\n" + "k" * 5_000_000 + " = 1"), GPUS, USAGE),
    Case("a pipe as a saved result", pipe("base.json"), COMPARE, USAGE),
    Case("an endless saved result", link("base.json", "/dev/zero"), COMPARE, USAGE),
    Case("a file of /proc as a saved result", link("base.json", "/proc/self/pagemap"), COMPARE, REFUSED),
    Case("a name with escapes", content(f"{ESCAPE}.json", "{}"), COMPARE, UNTRUSTED),
    Case("a name that is no UTF-8", content("\udcff\udc1b.json", "{}"), COMPARE, UNTRUSTED),
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
    Case("a pipe as MODEL", pipe("net.onnx"), EXPORT, USAGE),
    Case("an endless MODEL", link("net.onnx", "/dev/zero"), EXPORT, USAGE),
    Case("a pipe as weights", pipe("net.pth"), WEIGHTS, USAGE, megabytes=900),
    Case("endless weights", link("net.pth", "/dev/zero"), WEIGHTS, USAGE, megabytes=900),
    Case("weights of a terabyte", sparse("net.pth", 10**12), WEIGHTS, UNTRUSTED, megabytes=900),
    Case("weights that are zeros", sparse("net.pth", 15 * GB), WEIGHTS, UNTRUSTED, megabytes=900),
    Case("an engine of a terabyte", sparse("net.engine", 10**12), "inspect {file}", UNTRUSTED, megabytes=900),
    Case("a pipe as data", pipe("set.npz"), CALIBRATE, USAGE, megabytes=900),
    Case("a pipe as a recipe", pipe("set.toml"), CALIBRATE, USAGE, megabytes=900),
    Case("an endless recipe", link("set.toml", "/dev/zero"), CALIBRATE, USAGE, megabytes=900),
    Case("a pipe as a table", pipe("t.json"), "build test_convnet --precision int8 --table {file}", USAGE, 20, 900),
    Case("a pipe as accuracy", pipe("a.json"), "bench test_convnet --backends ort --accuracy {file}", USAGE, 20, 900),
    Case("images that are pipes", folder("set", pipe("a.png"), pipe("b.png")), CALIBRATE, USAGE, megabytes=900),
    Case(
        "images that are endless", folder("set", link("a.png", "/dev/zero"), link("b.png", "/dev/zero")),
        CALIBRATE, USAGE, megabytes=900,
    ),
    Case(
        "images of a terabyte", folder("set", sparse("a.png", 10**12), sparse("b.png", 10**12)),
        CALIBRATE, USAGE, megabytes=900,
    ),
    # names
    Case("a node with escapes", graph("net.onnx", node=ESCAPE, operator="Rel"), EXPORT, megabytes=900),
    Case("an operator with escapes", graph("net.onnx", operator=ESCAPE), EXPORT, megabytes=900),
    Case("an operator of 10 MB", graph("net.onnx", operator=LONG), EXPORT, megabytes=900),
    Case("a key with escapes", tensors("net.safetensors", ESCAPE), WEIGHTS, seconds=20, megabytes=900),
    Case("a key of 5 MB", tensors("net.safetensors", LONG[:5_000_000]), WEIGHTS, seconds=20, megabytes=900),
    Case("100,000 keys", tensors("net.safetensors", *map(str, range(100_000))), WEIGHTS, seconds=30, megabytes=1200),
    # data
    Case(
        "2 GB in an .npz", npz("set.npz", ("images.npy", npy_header("<f8", (GB // 4,)), 2 * GB)),
        CALIBRATE, UNTRUSTED, megabytes=900,
    ),
    Case(
        "2 GB beside the images",
        npz("set.npz", ("images.npy", npy_header("|u1", (4, 8, 8)), 256), ("x.npy", npy_header("|u1", (2 * GB,)), 2 * GB)),
        CALIBRATE, UNTRUSTED, megabytes=900,
    ),
    Case("a header of 1.5 GB", long_header("set.npz", 1_500_000_000), CALIBRATE, UNTRUSTED, megabytes=900),
    Case("a header of 60 MB", long_header("set.npz", 60_000_000), CALIBRATE, UNTRUSTED, megabytes=900),
    Case("an archive of a million members", full_directory("set.npz", 10**6), CALIBRATE, UNTRUSTED, megabytes=900),
    Case("weights of a million members", full_directory("net.pth", 10**6), WEIGHTS, UNTRUSTED, megabytes=900),
    Case(
        "2 GB in a gzip", folder("set", gzip_bomb("train-images-idx3-ubyte.gz", IDX, 2 * GB)), CALIBRATE, UNTRUSTED,
        megabytes=900,
    ),
    Case("a million rows", npz("set.npz", ("images.npy", npy_header("|u1", (10**6, 1, 1)), 10**6)), CALIBRATE, UNTRUSTED,
         megabytes=900),
    Case("a recipe of 200 MB", sparse("set.toml", 200_000_000), CALIBRATE, UNTRUSTED, megabytes=900),
    Case("a recipe with 100,000 levels", content("set.toml", "a = " + "[" * 100_000), CALIBRATE, UNTRUSTED, megabytes=900),
    Case("a recipe whose keys grow", content("set.toml", growing_keys(3000)), CALIBRATE, UNTRUSTED, megabytes=900),
    Case(
        "a recipe of the package __main__",
        content("set.toml", '[[image]]\nfile = "a.png"\nname = "a"\npackage = "__main__"\n'), CALIBRATE, USAGE,
        megabytes=900,
    ),
    Case("200 MB of classes", folder("set", folder("a", png("a.png", 8, 8)), folder("b", png("b.png", 8, 8)),
         sparse("classes.txt", 200_000_000)), EVALUATE, UNTRUSTED, megabytes=900),
    Case("a million histograms", shard("part.json", many_histograms(10**6)), MERGE, UNTRUSTED, 30, 3000),
    # images
    Case("a picture of 3 x 30,000", folder("set", *(png(f"{n}.png", 3, 30_000 + n) for n in range(4))), CALIBRATE, (0,), 60, 1200),
    Case("pictures of 100 megapixels", folder("set", copies(lambda name: png(name, 10_000, 9_999), [f"{n}.png" for n in range(4)]),
         copies(lambda name: png(name, 9_999, 10_000), [f"m{n}.png" for n in range(4)])), CALIBRATE, (0,), 120, 1800),
]  # fmt: skip
