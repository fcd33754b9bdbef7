"""What a text in the place of MODEL was meant to be, where it names no network: a file of another kind, a folder, a
Python file, a function with a dot for a colon, a network of another library, or a slip of the hand.

Nothing is imported and nothing is run to find out: a Python file is parsed, folders are listed.
"""

import ast
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from deploykit import limits
from deploykit.errors import LONGEST_QUOTE, UnknownName, UntrustedArtifact, UsageError, nearest
from deploykit.io.door import read_file

CHECKPOINT = "weights without a network"
TF2ONNX = "convert it to ONNX first, with tf2onnx"
KINDS = {  # suffix -> what such a file is, and what to do with it
    **dict.fromkeys(
        (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".npz", ".tar", ".pkl", ".pickle"),
        (
            f"a checkpoint: {CHECKPOINT}",
            "name the network and give it these: resnet50 --weights {name}, or module:function --weights {name}",
        ),
    ),
    **dict.fromkeys(
        (".engine", ".plan", ".trt"),
        ("a compiled engine", "give what it was built from; `deploykit inspect {name}` reads its plan"),
    ),
    **dict.fromkeys(
        (".pt2", ".torchscript", ".ts", ".jit", ".ptl"),
        (
            "a traced program of PyTorch",
            "name the function that builds its module, module:function, or export it to ONNX",
        ),
    ),
    **dict.fromkeys((".h5", ".hdf5", ".keras"), ("a Keras model", TF2ONNX)),
    ".tflite": (
        "a TensorFlow Lite model",
        f"{TF2ONNX}: python -m tf2onnx.convert --tflite {{name}} --output model.onnx",
    ),
    ".pb": ("a TensorFlow graph", TF2ONNX),
    **dict.fromkeys((".pdmodel", ".pdiparams"), ("a Paddle model", "convert it to ONNX first, with paddle2onnx")),
    **dict.fromkeys((".mlmodel", ".mlpackage"), ("a Core ML model", "export the network that it came from to ONNX")),
    **dict.fromkeys((".caffemodel", ".prototxt"), ("a Caffe model", "export the network again, to ONNX")),
    ".xml": ("an OpenVINO model", "give the ONNX file that it was converted from"),
    ".ort": ("a model in ONNX Runtime's own format", "give the .onnx file that it was converted from"),
    **dict.fromkeys((".json", ".yaml", ".yml", ".toml"), ("a configuration", "name the network itself")),
}
GENERAL = "`deploykit list` shows the zoo; a network of yours is an .onnx file or module:function"
MOST = 5  # names that a hint lists
TWO_PARTS = 2


def not_a_model(name: str, known: Iterable[str]) -> UsageError:
    """Why `name` is not a network of the zoo, nor a plug-in's (`known`), with what to give in its place."""
    path, names = Path(name), list(known)
    try:
        path.exists()
    except (OSError, ValueError):  # too long for a file's name, or with a null character
        return UnknownName("model", name[:LONGEST_QUOTE], names, fix=GENERAL)
    kind = KINDS.get(path.suffix.lower())
    if path.suffix == ".py":
        return UsageError(f"{name} is a Python file, not a network", hint=_functions_in(path))
    if kind is not None and (path.exists() or path.suffix.lower() != ".bin"):
        what, fix = kind
        there = "" if path.exists() else "; there is no such file"
        return UsageError(f"{name} is {what}{there}", hint=fix.format(name=name))
    if path.is_dir() and name:
        return UsageError(f"{name} is a folder", hint=_inside(path))
    if path.is_file():
        return UsageError(f"the name {name} does not end in .onnx", hint="rename it if it is an ONNX file")
    return UnknownName("model", name, names, fix=_dotted(name) or _elsewhere(name, names) or _general(name, names))


def missing_file(name: str, known: Iterable[str]) -> UsageError:
    """There is no `.onnx` file of this name; perhaps the zoo has the network."""
    stem, folder = Path(name).stem, Path(name).parent
    if not folder.is_dir():
        return UsageError(f"there is no file {name}", hint=f"there is no folder {folder} either: check the path")
    beside = nearest(Path(name).name, [file.name for file in sorted(folder.glob("*.onnx"))])
    if beside:
        return UsageError(f"there is no file {name}", hint=f"{folder} has {', '.join(beside)}")
    zoo = f"the zoo has a network {stem}: leave out .onnx, or " if stem in set(known) else ""
    return UsageError(f"there is no file {name}", hint=f"{zoo}check the path")


def module_of(path: str) -> str:
    """The name by which Python imports the file `path` from the current directory: `nets/small.py` is nets.small."""
    return path.removesuffix(".py").strip("./").replace("/", ".")


def _functions_in(path: Path) -> str:
    """How to name what a Python file builds; its functions and classes are read, not run."""
    module = module_of(str(path))
    try:
        body = ast.parse(read_file(path, "file", limit=limits.LIST_BYTES)).body
    except (UsageError, UntrustedArtifact, ValueError, SyntaxError, RecursionError, MemoryError):
        return f"name a function in it that returns the network: {module}:FUNCTION --input-shape 3,224,224"
    names = [item.name for item in body if isinstance(item, ast.FunctionDef | ast.ClassDef) and item.name[0] != "_"]
    shown = " or ".join(f"{module}:{item}" for item in names[:MOST]) or f"{module}:FUNCTION"
    return f"name what returns the network: {shown}, with --input-shape 3,224,224"


def _inside(folder: Path) -> str:
    """What of a folder could be meant."""
    if (folder / "saved_model.pb").exists():
        return f"it holds a TensorFlow SavedModel: {TF2ONNX}"
    if graphs := sorted(folder.glob("*.onnx")):
        return f"name the file in it: {' or '.join(map(str, graphs[:MOST]))}"
    weights = [
        file for suffix in (".safetensors", ".bin", ".pth", ".pt", ".ckpt") for file in folder.glob(f"*{suffix}")
    ]
    if weights:
        return f"it holds {CHECKPOINT}: name the network and give it --weights {sorted(weights)[0]}"
    if (folder / "__init__.py").exists():
        return f"it is a Python package: name a function in it, {module_of(str(folder))}:FUNCTION"
    return "give a name of `deploykit list`, an .onnx file, or module:function; images go with --data"


def _dotted(name: str) -> str:
    """`package.function` or `package/function` where such a module is there."""
    module, _, function = name.replace("/", ".").rpartition(".")
    if not module or not function.isidentifier() or module == "timm":
        return ""
    try:
        here = Path(f"{module.replace('.', '/')}.py").is_file() or find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        here = False
    return f"a function is named with a colon: {module}:{function} --input-shape 3,224,224" if here else ""


def _elsewhere(name: str, known: list[str]) -> str:
    """A network that torchvision or timm has, where the zoo has none of that name."""
    wanted = name.strip().rpartition("/")[2]
    if not wanted.isidentifier() or any(near.replace("_", "") == wanted.replace("_", "") for near in known):
        return ""
    if _defines("torchvision", wanted):
        return f"torchvision has it: torchvision.models:{wanted} --input-shape 3,224,224"
    if _defines("timm", wanted):
        argument = f"""--factory-args '{{"model_name": "{wanted}"}}'"""
        return f"timm has it: timm:create_model {argument} --input-shape 3,224,224"
    return ""


def _defines(package: str, function: str) -> bool:
    """Whether one of the package's files of models defines the function; the package is not imported."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return False
    files = (Path(spec.origin).parent / "models").glob("*.py")
    return any(f"\ndef {function}(" in file.read_text("utf-8", errors="replace") for file in files)


def _general(name: str, known: list[str]) -> str:
    if nearest(name.rpartition("/")[2], known):
        near = nearest(name.rpartition("/")[2], known)
        nothing = "nothing is downloaded; " if len(name.split("/")) == TWO_PARTS else ""
        return f"{nothing}did you mean {' or '.join(near)}?"
    return GENERAL
