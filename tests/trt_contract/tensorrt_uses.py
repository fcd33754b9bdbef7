"""What a piece of source uses of TensorRT, held against the bindings of one release.

Nothing is run: an object of TensorRT's is known by the name that the source gives it (HOLDERS), and every other name
that an attribute is looked up on has to be accounted for, so that none is passed over.

Code that cannot be reached with a release is not held against it: after `if not hasattr(trt, "Name"): raise ...`, and
in `if hasattr(...)`, where the release has no such name. `not`, `and` and `or` of hasattr are understood.
"""

import ast
import builtins
import inspect
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from pybind_signatures import signatures

MODULES = {"trt", "tensorrt", "tensorrt_rtx"}

# The names under which deploykit's code holds TensorRT's objects.
HOLDERS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "layer": "ILayer",
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

# Names without a type in the source that hold something else: values of Python's and of deploykit's own.
OTHERS = {
    *("_bounds", "_buffers", "_cuda", "_ended", "_log", "_own", "_session", "_shapes", "_started", "array"),
    *("bound", "buffer", "complaint", "cuda", "device", "dtype", "each", "engine", "errors", "first", "held"),
    *("host", "known", "last_to_first", "line", "lines", "log", "message", "options", "path", "previous"),
    *("ranges", "session", "spec", "sub", "taken", "target", "totals", "view", "views"),
}
PLAIN = (str, bytes, int, float, bool)


class Uses(ast.NodeVisitor):
    """Faults in what `source` uses of `trt`, and what it uses: `members` by name, `guarded` out of reach.

    Without `holders` only the module itself is looked at.
    """

    def __init__(self, trt: ModuleType, source: str, holders: Mapping[str, str] = HOLDERS) -> None:
        self.faults: list[str] = []
        self.members: dict[str, str] = {}
        self.guarded: set[str] = set()
        self.met: set[str] = set()
        self.calls = 0
        self._trt, self._holders = trt, holders
        tree = ast.parse(source)
        self._calls_of = {node.func: node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        self._known = _accounted_for(tree)
        self.visit(tree)

    def report(self) -> dict[str, Any]:
        return {
            "faults": self.faults,
            "members": self.members,
            "guarded": sorted(self.guarded),
            "met": sorted(self.met),
            "calls": self.calls,
        }

    def generic_visit(self, node: ast.AST) -> None:
        for _, value in ast.iter_fields(node):
            if isinstance(value, list):
                self._visit_block([each for each in value if isinstance(each, ast.AST)])
            elif isinstance(value, ast.AST):
                self.visit(value)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            name, returned = _name(target), self._returned(node.value)
            held = self._holders.get(name or "", returned)
            if hasattr(self._trt, returned) and returned != held:
                self.faults.append(f"line {node.lineno}: {name} is no {held} but {returned}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        owner = self._owner(node.value)
        if owner is None:
            self._check_other(node)
            return
        key = self._key(owner, node.attr)
        if not hasattr(owner, node.attr):
            self.faults.append(f"line {node.lineno}: {ast.unparse(node)} does not exist")
            return
        found = getattr(owner, node.attr)
        self.members[key] = describe(found)
        if isinstance(node.ctx, ast.Store) and getattr(found, "fset", None) is None:
            self.faults.append(f"line {node.lineno}: {ast.unparse(node)} cannot be set")
        if node in self._calls_of:
            self._check_call(self._calls_of[node], found)

    def _visit_block(self, nodes: Sequence[ast.AST]) -> None:
        for index, node in enumerate(nodes):
            answer = self._answer(node.test) if isinstance(node, ast.If) else None
            if not isinstance(node, ast.If) or answer is None:
                self.visit(node)
                continue
            reached, out_of_reach = (node.body, node.orelse) if answer else (node.orelse, node.body)
            self._visit_block(reached)
            if reached and isinstance(reached[-1], ast.Raise | ast.Return | ast.Continue):
                self._set_apart([*out_of_reach, *nodes[index + 1 :]])
                return
            self._set_apart(out_of_reach)

    def _answer(self, test: ast.expr) -> bool | None:
        """What a condition made of hasattr is in this release; None for any other."""
        match test:
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                answer = self._answer(inner)
                return None if answer is None else not answer
            case ast.BoolOp(op=operator, values=values):
                answers = [self._answer(value) for value in values]
                decisive = isinstance(operator, ast.Or)
                if decisive in answers:
                    return decisive
                return None if None in answers else not decisive
            case ast.Call(func=ast.Name(id="hasattr"), args=[held, ast.Constant(value=str(name))]):
                owner = self._owner(held)
                return None if owner is None else hasattr(owner, name)
        return None

    def _set_apart(self, nodes: Sequence[ast.AST]) -> None:
        for node in nodes:
            for each in ast.walk(node):
                owner = self._owner(each.value) if isinstance(each, ast.Attribute) else None
                if owner is not None and not each.attr.startswith("__"):
                    self.guarded.add(self._key(owner, each.attr))

    def _owner(self, value: ast.expr) -> object | None:
        """The class or module that an attribute is looked up in; None where it is none of TensorRT's."""
        if isinstance(value, ast.Name) and value.id in MODULES:
            return self._trt
        name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
        if name in self._holders:
            self.met.add(name)
            return getattr(self._trt, self._holders[name])
        if isinstance(value, ast.Attribute) and self._owner(value.value) is self._trt:
            found = getattr(self._trt, value.attr, None)
            return found if inspect.isclass(found) else None
        return None

    def _key(self, owner: object, name: str) -> str:
        return name if owner is self._trt else f"{owner.__name__}.{name}"

    def _returned(self, value: ast.expr) -> str:
        """The name of the type that a call of TensorRT's returns, "" for any other expression."""
        if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
            return ""
        owner = self._owner(value.func.value)
        found = getattr(owner, value.func.attr, None) if owner is not None else None
        if inspect.isclass(found):
            return found.__name__
        return next((each.returns for each in signatures(found)), "")

    def _check_other(self, node: ast.Attribute) -> None:
        """An attribute of what is not known to be TensorRT's has to be known as something else."""
        value = node.value
        if not self._holders:
            return
        if isinstance(value, ast.Attribute) and self._owner(value.value) is not None:
            plain = isinstance(getattr(self._owner(value.value), value.attr, ""), PLAIN)
        elif returned := self._returned(value):
            plain = getattr(builtins, returned, None) in PLAIN
        else:
            name = _name(value)
            self.met |= {name} & OTHERS
            method = isinstance(value, ast.Call) and hasattr(str, name)
            plain = name is None or method or name in OTHERS or name in self._known or hasattr(builtins, name)
        if not plain:
            self.faults.append(
                f"line {node.lineno}: {ast.unparse(value)} is not known: name it in HOLDERS or in OTHERS"
            )

    def _check_call(self, call: ast.Call, found: object) -> None:
        self.calls += 1
        known = signatures(found.__init__ if inspect.isclass(found) else found)
        starred = any(isinstance(argument, ast.Starred) for argument in call.args)
        keywords = {keyword.arg for keyword in call.keywords if keyword.arg}
        if not known:
            self.faults.append(f"line {call.lineno}: {ast.unparse(call.func)} cannot be called")
        elif not starred and not any(one.takes(len(call.args), keywords) for one in known):
            self.faults.append(f"line {call.lineno}: {ast.unparse(call)} fits none of {', '.join(map(str, known))}")


def describe(found: object) -> str:
    """A member of the bindings, as far as calling code sees it."""
    if inspect.isclass(found):
        return "class"
    if isinstance(found, property):
        return "property" if found.fset is None else "property that can be set"
    return " or ".join(map(str, signatures(found))) or "value"


def _name(value: ast.expr) -> str | None:
    """The name that an expression starts from, for `a`, `x.a`, `a[0]` and `a()`; None for literals and the like."""
    while isinstance(value, ast.Subscript | ast.Call):
        value = value.value if isinstance(value, ast.Subscript) else value.func
    return value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else None


def _accounted_for(tree: ast.Module) -> set[str]:
    """Names that the source itself tells to be something else: imported, defined here, or an argument with a type."""
    names = {"self"}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {(alias.asname or alias.name).partition(".")[0] for alias in aliases}
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.arg(arg=name, annotation=ast.expr() as kind) if ast.unparse(kind) != "Any":
                names.add(name)
    names |= {_name(target) or "" for node in tree.body if isinstance(node, ast.Assign) for target in node.targets}
    return names - MODULES
