"""Who may import whom: the command line rests on the workflows, those on the stages, and nothing imports upward."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import deploykit

PACKAGE = Path(deploykit.__file__).parent
FRAMEWORKS = {"torch", "onnx", "onnx_ir", "onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda", "rich"}

# Who may import whom, by the first name below `deploykit`. A line may name only what stands above it, or itself, so
# the table cannot hold a cycle.
MAY_IMPORT = {
    "quote": set(),
    "errors": {"quote"},
    "limits": {"errors"},
    "codec": {"errors", "limits"},
    "plugins": {"errors"},
    "spec": {"errors", "codec"},
    "host": set(),
    "store": {"codec", "errors"},
    "io": {"errors", "limits", "store"},
    "modules": {"codec", "errors", "spec", "io"},
    "graph": {"codec", "host", "errors", "spec", "io"},
    "ort_session": {"host", "errors", "graph"},
    "zoo": {"codec", "errors", "limits", "plugins", "spec", "io", "modules"},
    "plan": {"codec", "errors", "spec", "io"},
    "data": {"codec", "host", "errors", "limits", "spec", "store", "io", "zoo"},
    "weights_file": {"errors", "spec", "io", "zoo"},
    "weights": {"errors", "spec", "zoo", "data", "modules", "weights_file"},
    "export": {"errors", "spec", "modules", "graph"},
    "summary": {"codec", "errors", "spec", "modules", "graph"},
    "precision": {"codec", "host", "errors", "limits", "spec", "graph", "ort_session"},
    "backends": {"codec", "host", "errors", "plugins", "spec", "modules", "graph", "ort_session", "plan", "weights"},
    "parity": {"codec", "errors", "spec", "modules", "graph", "ort_session"},
    "bench": {"codec", "host", "quote", "errors", "spec", "data", "modules", "backends", "zoo", "weights"},
    "results": {"codec", "errors", "spec", "store", "plan", "data", "precision", "bench", "parity", "summary"},
    "gate": {"errors", "spec", "plan", "bench", "parity", "results"},
    "doctor": {"host", "errors", "plan", "backends", "data", "store"},
    "report": {"codec", "quote", "precision", "spec", "data", "bench", "summary", "plan", "parity", "results"},
}
MAY_IMPORT["workflow"] = set(MAY_IMPORT) - {"doctor"}
MAY_IMPORT["tuning"] = {*MAY_IMPORT} - {"doctor"}
MAY_IMPORT["api"] = {*MAY_IMPORT}
MAY_IMPORT[""] = {"api"}
MAY_IMPORT["cli"] = {
    "quote",
    "errors",
    "spec",
    "zoo",
    "results",
    "report",
    "api",
}  # of the zoo, names for lists and completion
MAY_IMPORT["__main__"] = {"cli", "errors", "quote"}


def module_of(path: Path) -> str:
    return ".".join(["deploykit", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


def part_of(module: str) -> str:
    """The first name below `deploykit`."""
    return module.removeprefix("deploykit").lstrip(".").partition(".")[0]


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            submodules = {f"{module}.{alias.name}" for alias in node.names}
            found |= {name for name in submodules if is_module(name)} or {module}
    return {name for name in found if name.split(".")[0] == "deploykit"}


def is_module(name: str) -> bool:
    path = PACKAGE.parent / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_the_table_of_layers_has_no_cycle():
    seen: set[str] = set()
    for part, allowed in MAY_IMPORT.items():
        assert allowed <= seen, f"{part} names {sorted(allowed - seen)}, which stand below it"
        seen.add(part)


def test_every_import_is_in_the_table():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        module = module_of(path)
        part = part_of(module)
        for imported in imports_of(path):
            target = part_of(imported)
            if target and target != part and target not in MAY_IMPORT.get(part, set()):
                wrong.append(f"{module} imports {imported}")
    assert not wrong


def test_no_circle_lies_inside_a_part():
    """Imports within functions and for type checkers count too: a circle is one, whenever it is closed."""
    names = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    graph = {name: imports_of(path) & names.keys() - {name} for name, path in names.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_importing_the_package_loads_no_framework():
    code = f"import deploykit.api, deploykit.cli, sys; print(*({FRAMEWORKS!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
