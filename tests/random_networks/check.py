"""Random networks through deploykit, every pass held against an independent float64 run.

    python tests/random_networks/check.py 0 200      # seeds 0 to 199, a line each, then how the rows ended

Each is verified with ONNX Runtime and, but for most with an LSTM, TensorRT-RTX; some are also run by eager PyTorch,
built or inspected, or verified as the `.onnx` file that torch's own exporter makes of them.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [] if str(HERE) in sys.path else [str(HERE)]

import generator  # noqa: E402 - it stands beside this file
import independent  # noqa: E402
import numpy as np  # noqa: E402 - below what its neighbors need
from torch import nn  # noqa: E402

MANY = 1_000_000  # seeds of the inputs that deploykit is given lie beyond those of ours
ALLOWED = (0, 2, 3, 4)  # done, a request that cannot be met, a verdict that is no pass, nothing to run it with
REFUSED = (  # what torch's exporter has no operator for, and what no backend takes of what it writes
    "has no counterpart in ONNX; write it with operators that ONNX has",
    "no backend here takes sequences",
)
COMPILED = (67, 152, 155)  # networks with an LSTM that are compiled, too: TensorRT-RTX 1.7.1 takes minutes for some
DEFECTS = ("Traceback", "internal error", "please report")  # said of what is no fault of the network


@dataclass(frozen=True)
class Found:
    """How one command ended: the exit code, what stderr said last, the rows' verdicts, and what was wrong with it."""

    code: int
    said: str
    verdicts: tuple[str, ...]
    faults: tuple[str, ...]


def run_deploykit(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command line, in this process and in the folder of the networks."""
    from deploykit import __main__

    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["deploykit", *arguments]
    try:
        with contextlib.chdir(HERE), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = __main__._run()  # workers, too, look for the factory in the current directory
    finally:
        sys.argv = before
    return code, out.getvalue(), err.getvalue()


def check(seed: int, folder: Path, *, backends: str = "ort,trt", precisions: str = "fp32,fp16,int8") -> Found:
    """`verify` the network of `seed`; `folder` is for the store and the inputs."""
    arguments = ["verify", *network_arguments(seed), "--backends", backends, "--precision", precisions]
    return _verified(seed, arguments, folder)


def check_file(seed: int, folder: Path) -> Found:
    """`verify` the `.onnx` file that torch's own exporter makes of the network; "left out" where it makes none."""
    import torch

    path = folder / f"network{seed}.onnx"
    given = tuple(map(torch.from_numpy, independent.made_up(seed, generator.inputs(seed), 2)))
    names = [each.name for each in generator.inputs(seed)]
    exporters: list[dict[str, Any]] = [
        {"dynamo": False, "dynamic_axes": {name: {0: "n"} for name in names}},
        {"dynamo": True, "dynamic_shapes": tuple({0: torch.export.Dim("n")} for _ in names)},
    ]
    for options in exporters[:: -1 if seed % 2 else 1]:
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                torch.onnx.export(generator.network(seed), given, path, opset_version=18, input_names=names, **options)
            for count in (1, 3):
                _run(path, independent.made_up(seed, generator.inputs(seed), count), optimize=False)
            break
        except Exception:  # noqa: BLE001 - what this exporter refuses, or traces for one batch size
            continue
    else:
        return Found(0, "", ("left out: torch.onnx.export makes no file of any batch",), ())
    arguments = ["verify", str(path), "--backends", "ort", "--precision", "fp32,int8"]
    return _verified(seed, arguments, folder)


def check_command(seed: int, folder: Path, command: Sequence[str]) -> Found:
    """`build` or `inspect` the network of `seed`: how it ends, and whether the weights are its own."""
    code, out, err = run_deploykit([*command, *network_arguments(seed), *_common(seed, folder)])
    faults = _ill_ended(code, out, err)
    if code == 0 and not json.loads(out).get("weights", "own").startswith("own"):
        faults.append("the weights are not the network's own")
    return Found(code, _last_line(err), (f"{' '.join(command)}: exit code {code}",), tuple(faults))


def check_all(seed: int, folder: Path) -> Iterator[Found]:
    """What is run of one seed: `verify`, and for most of them one thing more. Makes `folder`."""
    folder.mkdir(exist_ok=True)
    compiled = seed in COMPILED or not any(isinstance(part, nn.LSTM) for part in generator.network(seed).modules())
    backends = ("torch",) * (seed % 10 == 0) + ("ort",) + ("trt",) * compiled
    yield check(seed, folder, backends=",".join(backends))
    if seed % 5 == 1 and compiled:
        yield check_command(seed, folder, ["build", "--precision", "int8" if seed % 2 else "fp16"])
    if seed % 5 == 2 and compiled:
        yield check_command(seed, folder, ["inspect", "--precision", "fp16" if seed % 2 else "int8"])
    if seed % 10 in (3, 4):
        yield check_file(seed, folder)


def network_arguments(seed: int) -> list[str]:
    """The network as the command line names it, with its inputs."""
    arguments = ["generator:network", "--factory-args", json.dumps({"seed": seed})]
    taken = generator.inputs(seed)
    for each in taken:
        sizes = "x".join(map(str, ("batch", *each.shape)))
        arguments += ["--input-shape", f"{each.name}={sizes}" + (f":{each.dtype}" if each.high else "")]
        if each.high and len(each.shape) == 1:
            arguments += ["--input-range", f"{each.name}=0:{each.high}"]
    if [each.name for each in taken] == ["images"]:
        arguments[-1] = ",".join(map(str, taken[0].shape))
    return arguments


def _common(seed: int, folder: Path) -> list[str]:
    """Options of every command: the store, and an archive of inputs where image_folder will not do."""
    if _shown_photographs(seed):
        return ["--store", str(folder / "store"), "--json"]
    archive = folder / f"inputs{seed}.npz"
    arrays = independent.made_up(seed + MANY, generator.inputs(seed), 48)
    names = [each.name for each in generator.inputs(seed)]
    np.savez(archive, **dict(zip(names, arrays, strict=True)))
    return ["--data", str(archive), "--store", str(folder / "store"), "--json"]


def _shown_photographs(seed: int) -> bool:
    """Every fourth network of images is calibrated and judged on deploykit's own image_folder."""
    (images, *others) = generator.inputs(seed)
    return seed % 4 == 0 and not others and images.shape[0] in (1, 3)


def _verified(seed: int, arguments: Sequence[str], folder: Path) -> Found:
    code, out, err = run_deploykit([*arguments, *_common(seed, folder)])
    faults = _ill_ended(code, out, err)
    answer = json.loads(out) if out.strip().startswith("{") else {"rows": []}
    for row in answer["rows"]:
        faults += [f"{row['backend']} {row['precision']}: {why}" for why in _false_pass(seed, row, folder / "store")]
        if row["state"] == "failed":
            faults.append(f"{row['backend']} {row['precision']} failed: {row['reason']}")
        if row.get("weights") and not str(arguments[1]).endswith(".onnx") and not row["weights"].startswith("own"):
            faults.append(f"weights are {row['weights']}")
    verdicts = tuple(f"{row['backend']} {row['precision']} {_verdict(row)}" for row in answer["rows"])
    return Found(code, _last_line(err), verdicts, tuple(faults))


def _ill_ended(code: int, out: str, err: str) -> list[str]:
    said = [f"{word!r} is said" for word in DEFECTS if word in err + out]
    return said if code in ALLOWED or any(words in err for words in REFUSED) else [f"exit code {code}", *said]


def _last_line(err: str) -> str:
    return (err.strip().splitlines() or [""])[-1]


def _verdict(row: Mapping[str, Any]) -> str:
    return str((row["parity"] or {}).get("verdict") or row["state"])


def _false_pass(seed: int, row: Mapping[str, Any], store: Path) -> Iterator[str]:
    """What the row's typed graph gets wrong on images of our own although the row says pass."""
    if _verdict(row) != "pass" or not row["typed_digest"]:
        return
    (path,) = store.glob(f"objects/{row['typed_digest'][:2]}/{row['typed_digest']}*.onnx")
    module, arrays = generator.network(seed), independent.made_up(seed, generator.inputs(seed))
    found = _run(path, arrays, optimize=row["backend"] == "ort" and "basic level" not in row["note"])
    kind = module.kind
    exact = independent.exact_outputs(module, arrays)
    if len(found) != len(exact):
        yield f"{len(found)} outputs instead of {len(exact)}"
        return
    for number, (ours, theirs) in enumerate(zip(found, exact, strict=True)):
        why = independent.disagreement(
            ours,
            theirs,
            "other data" if row["precision"] == "int8" and _shown_photographs(seed) else row["precision"],
            groups=[slice(0, 4), slice(4, None)] if kind == "boxes" else [],
            ranked=kind == "topk",
        )
        if why:
            yield f"false pass: output {number} ({kind}) {why}"


def _run(path: Path, arrays: Sequence[Any], *, optimize: bool) -> list[Any]:
    """The graph's outputs by ONNX Runtime, as a row of it runs, or literally."""
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options)
    types = {"tensor(float16)": "float16", "tensor(float)": "float32"}
    feed = {
        each.name: array.astype(types.get(each.type, array.dtype))
        for each, array in zip(session.get_inputs(), arrays, strict=True)
    }
    found: list[Any] = session.run(None, feed)
    return found


def main() -> None:
    first, last = map(int, sys.argv[1:3])
    ends: Counter[str] = Counter()
    faulty = []
    for seed in range(first, last):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            for found in check_all(seed, Path(folder)):
                ends.update(found.verdicts or [f"none, exit code {found.code}"])
                faulty += [seed] if found.faults else []
                spent, began = time.perf_counter() - began, time.perf_counter()
                print(f"{seed}: {found.code} {spent:.1f} s {', '.join(found.verdicts)}", flush=True)
                for line in (*found.faults, *([found.said] if found.code not in (0, 3) or found.faults else [])):
                    print(f"    {line}", flush=True)
    print("\n".join(f"{count:5} {end}" for end, count in sorted(ends.items())))
    print(f"{len(set(faulty))} of {last - first} networks with a fault: {sorted(set(faulty))}")
    sys.exit(1 if faulty else 0)


if __name__ == "__main__":
    main()
