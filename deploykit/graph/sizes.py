"""Free sizes of a graph's inputs: fixed, or kept free within a range that travels with the graph.

A dimension of an input is free where the file gives it a name, nothing, a question mark, 0 or a negative number:
exporters write all of these. The first dimension is the batch. What the user says of the others replaces their names
wherever inputs and outputs bear them, and all shapes in between follow anew, so that what depends on a size alone can
be folded. Runtimes take inputs whose dimensions of one name differ in size, so what is given several sizes is told
apart.

A range stays in the file's metadata under `RANGES`, by the dimension's name, so that a typed graph, an engine and its
optimization profile know it, too.
"""

import json
from collections.abc import Mapping, Sequence

import onnx_ir as ir
import onnx_ir.passes.common as common

from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.spec import BATCH, InputShape, SizeRange

RANGES = "deploykit.sizes"
NOTES = (
    "deploykit.notes"  # the key of what was put right in a foreign file, in a graph's `meta`: never written to a file
)
NAMELESS = ("", "?", "*", "-1", "None", "none")  # what exporters write where they mean no name
Substitution = dict[str, int | str]
Place = tuple[str, int]  # an input's name and an axis of it


def name_free_sizes(model: ir.Model) -> None:
    """Give each free dimension of an input a name, in place: `batch` on axis 0, else `<input>_<axis>`."""
    taken = _names(model)
    for value in _inputs(model):
        if value.shape is not None:
            value.shape = ir.Shape(
                [size if _fixed(size) else _name(value, axis, size, taken) for axis, size in enumerate(value.shape)]
            )
    for value in model.graph.outputs:
        if value.shape is not None:
            value.shape = ir.Shape([size if _named_or_fixed(size) else None for size in value.shape])


def set_input_sizes(model: ir.Model, shapes: Sequence[InputShape]) -> None:
    """Change `model` in place, as its inputs are said to be.

    A named dimension is one size wherever it stands, unless it is given several: then each place has a name of its own,
    and a note says so.

    Raises UsageError for an input that the graph does not have, another rank or type, and a size that is another number
    in the file.
    """
    if not shapes:
        return
    known = {str(value.name): value for value in _inputs(model)}
    wanted: dict[Place, int | SizeRange] = {}
    for shape in shapes:
        value = _find(shape, known)
        for axis, size in enumerate(_sizes(shape, value)):
            if not isinstance(size, str | None) and _is_free(value, axis, size):
                wanted[str(value.name), axis] = size
    _tell_apart(model, wanted)
    sizes = {str(_shape(known[name])[axis]): size for (name, axis), size in wanted.items()}
    said: Substitution = {name: size for name, size in sizes.items() if isinstance(size, int)}
    for value in (*known.values(), *model.graph.outputs):
        if value.shape is not None:
            value.shape = ir.Shape([_substituted(size, said) for size in value.shape])
    note_ranges(model, {name: size for name, size in sizes.items() if isinstance(size, SizeRange)})
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
    """The ranges of free sizes that the graph carries, by name. Raises UntrustedArtifact where they are malformed."""
    text = model.metadata_props.get(RANGES)
    if text is None:
        return {}
    try:
        return {str(name): SizeRange(*map(int, ends)) for name, ends in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, UsageError) as error:
        raise UntrustedArtifact(f"the ONNX graph's metadata {RANGES} is malformed: {text[:80]!r}") from error


def _inputs(model: ir.Model) -> list[ir.Value]:
    return [value for value in model.graph.inputs if not value.is_initializer()]


def _fixed(size: int | ir.SymbolicDim) -> bool:
    return isinstance(size, int) and size > 0


def _named_or_fixed(size: int | ir.SymbolicDim) -> bool:
    return _fixed(size) or (isinstance(size, ir.SymbolicDim) and _is_name(size.value))


def _is_name(text: str | None) -> bool:
    return text is not None and text not in NAMELESS


def _name(value: ir.Value, axis: int, size: int | ir.SymbolicDim | None, taken: set[str]) -> str:
    if isinstance(size, ir.SymbolicDim) and _is_name(size.value):
        return str(size.value)
    return _own_name(value, axis, taken) if axis else BATCH


def _own_name(value: ir.Value, axis: int, taken: set[str]) -> str:
    """A name for one dimension that none of `taken` is, where it is added."""
    name = f"{value.name}_{axis}"
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _names(model: ir.Model) -> set[str]:
    """Those that the free sizes of inputs and outputs have."""
    values = [*_inputs(model), *model.graph.outputs]
    shapes = [value.shape for value in values if value.shape is not None]
    return {str(size.value) for shape in shapes for size in shape if isinstance(size, ir.SymbolicDim) and size.value}


def _shape(value: ir.Value) -> ir.Shape:
    assert value.shape is not None  # noqa: S101 - `parse` and `_sizes` have given it one
    return value.shape


def _tell_apart(model: ir.Model, wanted: Mapping[Place, int | SizeRange]) -> None:
    """Give the places of a name that are to have several sizes a name for each size.

    A batch stays free under the old name where nothing is said of it; other places of which nothing is said become free
    by themselves.
    """
    taken, notes = _names(model), []
    for name, places in _places(model).items():
        said = list(dict.fromkeys(wanted[place] for place in places if place in wanted))
        batches = [place for place in places if place[1] == 0]
        batch_stays = bool(batches) and not any(place in wanted for place in batches)
        if len(said) + batch_stays < 2 or not said:
            continue
        fresh: dict[int | SizeRange, str] = {}
        for (owner, axis), value in places.items():
            size = wanted.get((owner, axis))
            if size is None and axis == 0:
                continue
            if size is None:
                own = _own_name(value, axis, taken)
            else:
                own = fresh.setdefault(size, "") or _own_name(value, axis, taken)
                fresh[size] = own
            _rename(value, axis, own)
        for output in model.graph.outputs:
            if output.shape is not None:
                output.shape = ir.Shape([None if _symbol(size) == name else size for size in output.shape])
        sizes = " and ".join(str(size) for size in said) + (" beside a free batch" if batch_stays else "")
        notes.append(f"size {name!r} is {sizes}: told apart by where it stands")
    model.graph.meta[NOTES] = (*model.graph.meta.get(NOTES, ()), *notes)


def _places(model: ir.Model) -> dict[str, dict[Place, ir.Value]]:
    """The inputs and axes of each free size, by its name."""
    found: dict[str, dict[Place, ir.Value]] = {}
    for value in _inputs(model):
        for axis, size in enumerate(value.shape or ()):
            if name := _symbol(size):
                found.setdefault(name, {})[str(value.name), axis] = value
    return found


def _symbol(size: int | ir.SymbolicDim | None) -> str:
    return str(size.value) if isinstance(size, ir.SymbolicDim) and size.value else ""


def _rename(value: ir.Value, axis: int, name: str) -> None:
    value.shape = ir.Shape([name if place == axis else size for place, size in enumerate(_shape(value))])


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


def _is_free(value: ir.Value, axis: int, wanted: int | SizeRange) -> bool:
    """Whether a dimension is to become `wanted`; not where it is that number already. Raises UsageError for another."""
    found = _shape(value)[axis]
    if not isinstance(found, int):
        if not _symbol(found):
            _rename(value, axis, _name(value, axis, found, set()))
        return True
    if found != wanted:
        what = "batch" if axis == 0 else f"dimension {axis}"
        raise UsageError(
            f"input {value.name}: its {what} is {found} in the file, not {wanted}",
            hint=f"only sizes that are free can be set: write {found} there",
        )
    return False


def _substituted(size: int | ir.SymbolicDim, said: Substitution) -> int | str | ir.SymbolicDim:
    return said.get(str(size.value), size) if isinstance(size, ir.SymbolicDim) else size
