"""What PyTorch says when it cannot run or trace a network, in one line with its place in the user's code and a fix.

torch.export and torch.onnx wrap the error that matters in pages of advice, and that error speaks of fake tensors and
symbols (`Could not guard on data-dependent expression Eq(u0, 1)`). `explain` finds the innermost error, says it in the
words of somebody who wrote an `nn.Module`, and names the line of the network's own code that it arose in.

Importing this module imports no torch.
"""

import re
import sysconfig
import traceback
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from deploykit.errors import PACKAGE, DeploykitError, first_line

STEERING = (
    "choose with torch.where or torch.cond, or by shapes alone; what .item(), int(), bool() or tolist() read from a "
    "tensor cannot steer Python code in a graph"
)
ELSEWHERE = "write it with operators that ONNX has, or return what goes into it and compute it behind the network"
REPLACEMENTS = {  # of operators without a counterpart in ONNX
    "aten.sort": "torch.topk(x, x.shape[dim], dim=dim) sorts and has one",
    "torchvision.nms": "return boxes and scores, and suppress behind the network",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """`what` happened and where, in one line without a full stop; `hint` is the fix, or empty."""

    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class _Rule:
    """Errors whose class or text `pattern` finds; `{0}` in the two texts is its first group."""

    pattern: re.Pattern[str]
    what: str
    hint: str


def _rule(pattern: str, what: str, hint: str) -> _Rule:
    return _Rule(re.compile(pattern, re.DOTALL), what, hint)


# Searched in "Class: text" of the innermost error, in this order.
RULES = (
    _rule(
        r"GuardOnDataDependent|data-dependent (?:branching|expression|guard)|[Dd]ata.dependent branching",
        "its code takes another way for other values of the input",
        STEERING,
    ),
    _rule(r"DataDependentOutput\w*: (\S+?)(?:\.default)?(?:\s|$)", "{0} hands a tensor's value to Python", STEERING),
    _rule(
        r"DynamicOutputShape\w*: (\S+?)(?:\.default)?(?:\s|$)",
        "the size of what {0} makes depends on values of the input",
        "take a fixed number, as torch.topk does, and a mask",
    ),
    _rule(
        r"No ONNX function found for <OpOverload\(op='([^']+)'", "operator {0} has no counterpart in ONNX", ELSEWHERE
    ),
    _rule(r"UnsupportedOperator\w*: (\S+?)(?:\.default)?(?:\s|$)", "operator {0} cannot be traced", ELSEWHERE),
    _rule(
        r"no fake impl registered for (?:<CustomOpDef\()?([\w:]+)",
        "the custom operator {0} does not tell torch the shapes that it makes",
        "give it a register_fake; ONNX must have the operator too, so better write it with those of torch",
    ),
    _rule(
        r"Found no NVIDIA driver|not compiled with CUDA enabled|No CUDA GPUs are available|"
        r"Expected all tensors to be on the same device|Attempting to deserialize object on a CUDA device",
        "its code asks for a GPU where deploykit runs it on the CPU",
        "make tensors where the input is (device=x.device), not by .cuda(), and load with map_location='cpu'",
    ),
    _rule(
        r"missing (?:a|\d+) required (?:\S+ )?arguments?:? (.+?)$",
        "its forward needs more than the input: {0}",
        "wrap it in a module whose forward takes the input alone and fills in the rest",
    ),
)


def explain(error: BaseException) -> Explanation:
    """The innermost cause of `error` in one line. Where nothing is known of it, its class and its first line."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    innermost = causes[-1]
    if isinstance(innermost, DeploykitError):
        return Explanation(innermost.message, innermost.hint)
    kind, said = type(innermost).__name__, first_line(innermost)
    told = f"{kind}: {said}" if said != kind else kind
    place = next(filter(None, map(_own_line, reversed(causes))), "")
    for rule in RULES:
        if match := rule.pattern.search(f"{kind}: {innermost}"):
            named = match[1].strip() if match.re.groups else ""
            return Explanation(rule.what.format(named) + place, REPLACEMENTS.get(named, rule.hint))
    return Explanation(told + place)


def _own_line(error: BaseException) -> str:
    """The innermost line that is neither Python's, torch's nor ours: ` (net.py:9: if x.sum() > 0:)`, or empty."""
    skipped = (Path(sysconfig.get_path("stdlib")), PACKAGE, *_homes("torch", "onnxscript", "onnx_ir"))
    packages = Path(sysconfig.get_path("purelib"))  # lies inside the standard library's folder, and may be a network's
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        standard = path.is_relative_to(skipped[0]) and not path.is_relative_to(packages)
        if not (frame.filename.startswith("<") or standard or any(map(path.is_relative_to, skipped[1:]))):
            return f" ({path.name}:{frame.lineno}: {frame.line})" if frame.line else f" ({path.name}:{frame.lineno})"
    return ""


def _homes(*packages: str) -> list[Path]:
    specs = (find_spec(name) for name in packages)
    return [Path(spec.origin).parent for spec in specs if spec is not None and spec.origin is not None]
