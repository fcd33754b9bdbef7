"""Free sizes of a graph's inputs: fixed, or kept free within a range that travels with the graph.

A dimension of an input is free where the file gives it a name, nothing, a question mark, 0 or a negative number:
exporters write all of these. The first dimension is the batch. What the user says of the others replaces their names
wherever inputs and outputs bear them, and all shapes in between follow anew, so that what depends on a size alone can
be folded.

A range stays in the file's metadata under `RANGES`, by the dimension's name, so that a typed graph, an engine and its
optimisation profile know it, too.
"""

import json
from collections.abc import Mapping, Sequence

import onnx_ir as ir
import onnx_ir.passes.common as common

from deploykit.errors import UntrustedArtefact, UsageError
from deploykit.spec import BATCH, InputShape, SizeRange

RANGES = "deploykit.sizes"
NAMELESS = ("", "?", "*", "-1", "None", "none")  # what exporters write where they mean no name
Substitution = dict[str, int | str]


def name_free_sizes(model: ir.Model) -> None:
    """Give each free dimension of an input a name, in place: `batch` on axis 0, else `<input>_<axis>`."""
    for value in _inputs(model):
        if value.shape is not None:
            value.shape = ir.Shape(
                [size if _fixed(size) else _name(value, axis, size) for axis, size in enumerate(value.shape)]
            )
    for value in model.graph.outputs:
        if value.shape is not None:
            value.shape = ir.Shape([size if _named_or_fixed(size) else None for size in value.shape])


def set_input_sizes(model: ir.Model, shapes: Sequence[InputShape]) -> None:
    """Change `model` in place, as its inputs are said to be.

    Raises UsageError for an input that the graph does not have, another rank or type, and a size that is another number
    in the file; a named dimension is one size wherever it stands.
    """
    if not shapes:
        return
    known = {str(value.name): value for value in _inputs(model)}
    said: Substitution = {}
    ranges: dict[str, SizeRange] = {}
    for shape in shapes:
        value = _find(shape, known)
        for axis, size in enumerate(_sizes(shape, value)):
            _settle(value, axis, size, said, ranges)
    for value in (*known.values(), *model.graph.outputs):
        if value.shape is not None:
            value.shape = ir.Shape([_substituted(size, said) for size in value.shape])
    note_ranges(model, ranges)
    public = set(model.graph.outputs)
    for node in model.graph.all_nodes():
        for made in node.outputs:
            if made not in public:
                made.shape = None
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)


def note_ranges(model: ir.Model, ranges: Mapping[str, SizeRange]) -> None:
    """Let the graph carry the ranges of its free sizes, by name."""
    if ranges:
        model.metadata_props[RANGES] = json.dumps(
            {name: [size.minimum, size.optimum, size.maximum] for name, size in sorted(ranges.items())}
        )


def size_ranges(model: ir.Model) -> dict[str, SizeRange]:
    """The ranges of free sizes that the graph carries, by name. Raises UntrustedArtefact where they are malformed."""
    text = model.metadata_props.get(RANGES)
    if text is None:
        return {}
    try:
        return {str(name): SizeRange(*map(int, ends)) for name, ends in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, UsageError) as error:
        raise UntrustedArtefact(f"the ONNX graph's metadata {RANGES} is malformed: {text[:80]!r}") from error


def _inputs(model: ir.Model) -> list[ir.Value]:
    return [value for value in model.graph.inputs if not value.is_initializer()]


def _fixed(size: int | ir.SymbolicDim) -> bool:
    return isinstance(size, int) and size > 0


def _named_or_fixed(size: int | ir.SymbolicDim) -> bool:
    return _fixed(size) or (isinstance(size, ir.SymbolicDim) and _is_name(size.value))


def _is_name(text: str | None) -> bool:
    return text is not None and text not in NAMELESS


def _name(value: ir.Value, axis: int, size: int | ir.SymbolicDim) -> str:
    if isinstance(size, ir.SymbolicDim) and _is_name(size.value):
        return str(size.value)
    return f"{value.name}_{axis}" if axis else BATCH


def _find(shape: InputShape, known: dict[str, ir.Value]) -> ir.Value:
    takes = ", ".join(known)
    if not shape.name:
        if len(known) == 1:
            return next(iter(known.values()))
        raise UsageError(
            f"--input-shape {shape} names no input, the graph takes {takes}",
            hint=f"write {next(iter(known), 'x')}=1x...",
        )
    if shape.name not in known:
        raise UsageError(f"the graph has no input {shape.name!r}", hint=f"it takes {takes}")
    return known[shape.name]


def _sizes(shape: InputShape, value: ir.Value) -> tuple[int | str | SizeRange | None, ...]:
    """One for each axis of the input; None leaves the batch as it is."""
    if shape.dtype and value.dtype is not None and value.dtype.numpy().name != shape.dtype:
        raise UsageError(f"input {value.name} is {value.dtype.numpy().name} in the file, not {shape.dtype}")
    if value.shape is None:
        value.shape = ir.Shape([None] * (len(shape.sizes) + 1))
    rank, given = len(value.shape), len(shape.sizes)
    if shape.batch is None and given == rank:
        if isinstance(shape.sizes[0], SizeRange):
            raise UsageError(f"--input-shape {shape}: the batch's range is that of --batch", hint="write batch there")
        return shape.sizes
    if given + 1 != rank:
        says = ", ".join(str(size) for size in value.shape)
        raise UsageError(
            f"--input-shape {shape} has {given + (shape.batch is not None)} sizes, input {value.name} is [{says}]",
            hint="give one size for each dimension, the batch in front",
        )
    return (shape.batch, *shape.sizes)


def _settle(
    value: ir.Value, axis: int, wanted: int | str | SizeRange | None, said: Substitution, ranges: dict[str, SizeRange]
) -> None:
    """Note what one dimension becomes; every dimension of that name becomes it."""
    assert value.shape is not None  # noqa: S101 - _sizes has given it one
    found = value.shape[axis]
    if wanted is None:
        return
    if isinstance(found, int):
        if found != wanted:
            what = "batch" if axis == 0 else f"dimension {axis}"
            raise UsageError(
                f"input {value.name}: its {what} is {found} in the file, not {wanted}",
                hint=f"only sizes that are free can be set: write {found} there",
            )
        return
    name = _name(value, axis, found)
    value.shape = ir.Shape([name if place == axis else size for place, size in enumerate(value.shape)])
    before = said.get(name, ranges.get(name))
    if wanted != BATCH and before is not None and before != wanted:
        raise UsageError(
            f"input {value.name}: {name} is {before} and {wanted}", hint="dimensions of one name have one size"
        )
    if isinstance(wanted, SizeRange):
        ranges[name] = wanted
    elif isinstance(wanted, int):
        said[name] = wanted


def _substituted(size: int | ir.SymbolicDim, said: Substitution) -> int | str | ir.SymbolicDim:
    return said.get(str(size.value), size) if isinstance(size, ir.SymbolicDim) else size
