"""What deploykit calls of TensorRT exists there, with the arguments it passes; and the fake runtime is no fiction.

Sessions cannot run without a GPU, but that every binding exists and takes those arguments can be checked anywhere.
"""

import ast
import inspect
import sys
from pathlib import Path

import pytest
from pybind_signatures import Signature, signatures

import deploykit.backends

trt = pytest.importorskip("tensorrt_rtx")

PACKAGE = Path(deploykit.backends.__file__).parent
SOURCES = [PACKAGE / "nvinfer.py", PACKAGE / "nvinfer_session.py"]
SHIM_TESTS = Path(__file__).parents[1] / "cuda_shim"

# The names under which the two modules hold TensorRT's objects.
HOLDERS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "tensor": "ITensor",
    "runtime": "Runtime",
    "_runtime": "Runtime",
    "inspector": "EngineInspector",
    "plan": "ICudaEngine",
    "_plan": "ICudaEngine",
    "context": "IExecutionContext",
}


class Uses(ast.NodeVisitor):
    """Faults in the uses of TensorRT in a piece of source, and which holders were met."""

    def __init__(self, source: str) -> None:
        self.faults: list[str] = []
        self.met: set[str] = set()
        self.calls = 0
        self._calls_of: dict[ast.expr, ast.Call] = {}
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                self._calls_of[node.func] = node
        self.visit(tree)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        if node.attr.startswith("__"):
            return
        owner = self._owner(node.value)
        if owner is None:
            return
        if not hasattr(owner, node.attr):
            self.faults.append(f"line {node.lineno}: {ast.unparse(node)} does not exist")
            return
        found = getattr(owner, node.attr)
        if isinstance(node.ctx, ast.Store) and getattr(found, "fset", None) is None:
            self.faults.append(f"line {node.lineno}: {ast.unparse(node)} cannot be set")
        if node in self._calls_of:
            self._check_call(self._calls_of[node], found)

    def _owner(self, value: ast.expr) -> object | None:
        """The class or module that an attribute is looked up in; None where it is none of TensorRT's."""
        if isinstance(value, ast.Name) and value.id == "trt":
            return trt
        name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else None
        if name in HOLDERS:
            self.met.add(name)
            return getattr(trt, HOLDERS[name])
        if isinstance(value, ast.Attribute) and self._owner(value.value) is trt:
            return getattr(trt, value.attr, None)
        return None

    def _check_call(self, call: ast.Call, found: object) -> None:
        self.calls += 1
        method = found.__init__ if inspect.isclass(found) else found
        known = signatures(method)
        starred = any(isinstance(argument, ast.Starred) for argument in call.args)
        keywords = {keyword.arg for keyword in call.keywords if keyword.arg}
        if known and not starred and not any(one.takes(len(call.args), keywords) for one in known):
            self.faults.append(f"line {call.lineno}: {ast.unparse(call)} fits none of {known}")
        if not known and not inspect.isfunction(found):
            self.faults.append(f"line {call.lineno}: {ast.unparse(call.func)} cannot be called")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_use_of_tensorrt_exists(path):
    uses = Uses(path.read_text())
    assert uses.faults == []
    assert uses.calls >= 8


def test_every_declared_holder_is_in_use():
    assert set().union(*(Uses(path.read_text()).met for path in SOURCES)) == set(HOLDERS)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("network.get_imput(0)", "does not exist"),
        ("trt.BuilderFlag.FP16", "does not exist"),
        ("trt.BuilderFlags.TF32", "does not exist"),
        ("network.get_input()", "fits none"),
        ("network.get_input(0, 1)", "fits none"),
        ("context.execute_async_v3(handle=1)", "fits none"),
        ("plan.num_io_tensors = 1", "cannot be set"),
        ("plan.num_io_tensors()", "cannot be called"),
        ("trt.Runtime()", "fits none"),
        ("inspector.get_engine_information()", "fits none"),
        ("inspector.context = context", "does not exist"),
        ("trt.LayerInformationFormat.TEXT", "does not exist"),
    ],
)
def test_a_wrong_use_is_found(source, fault):
    faults = Uses(source).faults
    assert len(faults) == 1
    assert fault in faults[0]


def test_the_profile_is_set_with_three_shapes():
    assert signatures(trt.IOptimizationProfile.set_shape) == [Signature(("input", "min", "opt", "max"), 4)]


def callbacks() -> list[tuple[str, ast.ClassDef]]:
    tree = ast.parse(SOURCES[0].read_text())
    return [
        (node.bases[0].attr, node)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.bases and isinstance(node.bases[0], ast.Attribute)
    ]


def test_the_callbacks_override_every_method_with_its_own_arguments():
    assert {name for name, _ in callbacks()} == {"ILogger", "IProgressMonitor"}
    for name, definition in callbacks():
        own = {node.name: node for node in definition.body if isinstance(node, ast.FunctionDef)}
        wanted = {
            method: signatures(found)[0]
            for method, found in inspect.getmembers(getattr(trt, name))
            if not method.startswith("_") and signatures(found)
        }
        assert wanted
        for method, signature in wanted.items():
            assert len(own[method].args.args) - 1 == len(signature.names)


def fakes() -> list[tuple[type, type]]:
    sys.path.insert(0, str(SHIM_TESTS))
    try:
        import fake_tensorrt
    finally:
        sys.path.remove(str(SHIM_TESTS))
    return [
        (fake_tensorrt.FakeRuntime, trt.Runtime),
        (fake_tensorrt.FakeEngine, trt.ICudaEngine),
        (fake_tensorrt.FakeExecutionContext, trt.IExecutionContext),
        (fake_tensorrt.FakeEngineInspector, trt.EngineInspector),
    ]


def test_the_fake_runtime_has_the_methods_of_the_real_one_and_no_others():
    for fake, real in fakes():
        for name, member in inspect.getmembers(fake):
            if name.startswith("_"):
                continue
            assert hasattr(real, name), f"{fake.__name__}.{name} is not in TensorRT"
            if not inspect.isfunction(member):
                assert isinstance(inspect.getattr_static(real, name), property)
                continue
            own = tuple(inspect.signature(member).parameters)[1:]
            known = [one.names for one in signatures(getattr(real, name))]
            assert any(names[: len(own)] == own for names in known), (
                f"{fake.__name__}.{name}{own} is not one of {known}"
            )


def test_the_session_uses_nothing_that_the_fake_lacks():
    """Else the shim's tests would pass by without it."""
    tree = ast.parse(SOURCES[1].read_text())
    of = {"runtime": 0, "_runtime": 0, "plan": 1, "_plan": 1, "context": 2, "inspector": 3}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        holder = node.value
        name = holder.attr if isinstance(holder, ast.Attribute) else getattr(holder, "id", None)
        if name in of:
            assert hasattr(fakes()[of[name]][0], node.attr)


def test_host_code_in_engines_stays_forbidden():
    assert trt.Runtime.engine_host_code_allowed.fset is not None
    assert not any("engine_host_code_allowed" in path.read_text() for path in SOURCES)
