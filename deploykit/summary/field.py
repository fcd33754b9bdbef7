"""Receptive fields: how many pixels of the image an element of a tensor depends on, and what operators do to that.

Per image axis an element sees `pixels`, and its neighbor sees the same, `jump` pixels further on. A window of k
positions, `dilation` apart, moved by `stride`, makes of these

    pixels' = pixels + (k - 1) * dilation * jump        jump' = jump * stride

(Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019). Where branches meet,
the wider field counts. A transposed convolution writes k positions for each one it reads, `stride` apart, so that an
output sees at most ceil(((k - 1) * dilation + 1) / stride) inputs and its neighbors are jump / stride apart.

An operator that takes in every position of an axis (a mean, a linear layer behind a flatten) is a window over all of
them. From then on nothing more can be added if that reaches the image's size: the axis is `whole`. Padding is taken for
pixels, as in the source: away from the border the field is exact.

Which axis of a tensor runs along which axis of the image is followed through reshapes: an axis is a sequence of `Run`s,
after a flatten of (C, H, W) for example one of C channels, one along H and one along W. What cannot be followed raises
`Untraceable`, and a reader then has to say that the field is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, prod

Shape = tuple[int, ...]


class Untraceable(Exception):
    """An operator mixes positions in a way that is not followed. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What an element sees along one axis of the image, which is `image` pixels long."""

    image: int
    pixels: Fraction = Fraction(1)
    jump: Fraction = Fraction(1)
    whole: bool = False

    def window(self, kernel: int, *, stride: Fraction = Fraction(1), dilation: int = 1) -> "Reach":
        return self._seeing(kernel, apart=dilation * self.jump, jump=self.jump * stride)

    def transposed(self, kernel: int, *, stride: int, dilation: int = 1) -> "Reach":
        covered = ceil(Fraction((kernel - 1) * dilation + 1, stride))
        return self._seeing(covered, apart=self.jump, jump=self.jump / stride)

    def all_of(self, positions: int) -> "Reach":
        """A window over every one of `positions`."""
        wide = self.window(positions)
        seen = wide.whole or wide.pixels >= self.image
        return replace(wide, pixels=Fraction(self.image) if seen else wide.pixels, whole=seen)

    def _seeing(self, count: int, *, apart: Fraction, jump: Fraction) -> "Reach":
        pixels = self.pixels if self.whole else self.pixels + (count - 1) * apart
        return replace(self, pixels=pixels, jump=jump)

    def joined(self, other: "Reach") -> "Reach":
        whole = self.whole or other.whole
        pixels = Fraction(self.image) if whole else max(self.pixels, other.pixels)
        return Reach(self.image, pixels, max(self.jump, other.jump), whole)


@dataclass(frozen=True, slots=True)
class Run:
    """`length` steps of a tensor's axis: along an axis of the image, or along channels and the like (None)."""

    length: int
    along: int | None = None


Layout = tuple[tuple[Run, ...], ...]  # for each axis of a tensor its runs, outermost first


@dataclass(frozen=True, slots=True)
class Field:
    """A tensor that depends on the image: what its elements see, and how they are laid out."""

    reaches: tuple[Reach, ...]
    layout: Layout

    @property
    def shape(self) -> Shape:
        return tuple(_length(runs) for runs in self.layout)

    @property
    def pixels(self) -> Shape:
        return tuple(ceil(reach.pixels) for reach in self.reaches)

    @property
    def whole_image(self) -> bool:
        return bool(self.reaches) and all(reach.whole for reach in self.reaches)


def of_images(shape: Shape) -> Field:
    """Images (N, C, ...): each axis from the third on is one of the image's."""
    spatial = tuple((Run(size, axis),) for axis, size in enumerate(shape[2:]))
    return Field(tuple(map(Reach, shape[2:])), ((Run(shape[0]),), (Run(shape[1]),), *spatial))


def slide(
    field: Field,
    shape: Shape,
    kernel: Sequence[int],
    *,
    stride: Sequence[int | Fraction],
    dilation: Sequence[int] | None = None,
) -> Field:
    """A window over the last `len(kernel)` axes, as pooling and convolutions have it. The result has `shape`.

    Where one window holds all there is, it sees every position: LeNet's C5, a global pooling that states its kernel.
    """
    reaches, first = list(field.reaches), len(field.layout) - len(kernel)
    for offset, (size, step) in enumerate(zip(kernel, stride, strict=True)):
        axis = _image_axis(field, first + offset, unchanged=size == 1 and step == 1)
        if axis is not None:
            apart, positions = dilation[offset] if dilation else 1, field.shape[first + offset]
            if shape[first + offset] == 1 and size >= positions and apart == 1:
                reaches[axis] = reaches[axis].all_of(positions)
            else:
                reaches[axis] = reaches[axis].window(size, stride=Fraction(step), dilation=apart)
    return resize(replace(field, reaches=tuple(reaches)), shape)


def slide_transposed(
    field: Field, shape: Shape, kernel: Sequence[int], *, stride: Sequence[int], dilation: Sequence[int]
) -> Field:
    """A transposed convolution over the last `len(kernel)` axes."""
    reaches, first = list(field.reaches), len(field.layout) - len(kernel)
    for offset, (size, step, apart) in enumerate(zip(kernel, stride, dilation, strict=True)):
        axis = _image_axis(field, first + offset, unchanged=size == 1 and step == 1)
        if axis is not None:
            reaches[axis] = reaches[axis].transposed(size, stride=step, dilation=apart)
    return resize(replace(field, reaches=tuple(reaches)), shape)


def pool_adaptively(field: Field, shape: Shape, axes: int) -> Field:
    """Average or maximum over the windows that divide each of the last `axes` axes into `shape` parts.

    Part i of m covers the positions from floor(i n / m) to ceil((i + 1) n / m); the widest part counts.
    """
    first = len(shape) - axes
    field = span(field, [axis for axis in range(first, len(shape)) if shape[axis] == 1])
    sizes, parts = field.shape[first:], shape[first:]
    kernel = [
        max(-(-(part + 1) * n // m) - part * n // m for part in range(m)) for n, m in zip(sizes, parts, strict=True)
    ]
    return slide(field, shape, kernel, stride=[Fraction(n, m) for n, m in zip(sizes, parts, strict=True)])


def interpolate(field: Field, shape: Shape, *, neighbors: int) -> Field:
    """Resize the axes from the third on; a value is made of so many `neighbors` per axis: 1 nearest, 2 linear."""
    sizes = zip(field.shape[2:], shape[2:], strict=True)
    strides = [Fraction(old, new) for old, new in sizes]
    return slide(field, shape, [1 if step == 1 else neighbors for step in strides], stride=strides)


def span(field: Field, axes: Sequence[int], *, drop: bool = False, keep: bool = False) -> Field:
    """Take in every position of these axes of the tensor. They become 1 long, with `drop` vanish, with `keep` stay."""
    chosen = {axis % len(field.layout) for axis in axes}
    reaches, layout = list(field.reaches), []
    for index, runs in enumerate(field.layout):
        if index in chosen:
            for run in runs:
                if run.along is not None:
                    reaches[run.along] = reaches[run.along].all_of(run.length)
            runs = runs if keep else (Run(1),)
        if not (drop and index in chosen):
            layout.append(runs)
    return Field(tuple(reaches), tuple(layout))


def span_image(field: Field) -> Field:
    """Take in every position of the image, in place: what a normalization over whole maps does."""
    along_image = [axis for axis, runs in enumerate(field.layout) if any(run.along is not None for run in runs)]
    return span(field, along_image, keep=True)


def step(field: Field, shape: Shape, axis: int, *, every: int) -> Field:
    """Every n-th position of one axis of the tensor, or all from some position to another."""
    reaches, along = list(field.reaches), _image_axis(field, axis, unchanged=every == 1)
    if along is not None:
        reaches[along] = reaches[along].window(1, stride=Fraction(every))
    return resize(replace(field, reaches=tuple(reaches)), shape)


def multiply(left: Field | None, right: Field | None, shape: Shape) -> Field:
    """A matrix product (..., M, K) x (..., K, N); at least one side depends on the image."""
    spanned = [span(side, [axis], keep=True) for side, axis in ((left, -1), (right, -2)) if side]
    rows = left.layout[-2] if left else (Run(shape[-2]),)
    columns = right.layout[-1] if right else (Run(shape[-1]),)
    batch = _aligned([field.layout[:-2] for field in spanned], shape[:-2])
    return Field(_met(spanned), (*batch, rows, columns))


def join(fields: Sequence[Field], shape: Shape) -> Field:
    """Fields that meet in one result of `shape`, broadcast as NumPy does."""
    return Field(_met(fields), _aligned([field.layout for field in fields], shape))


def resize(field: Field, shape: Shape) -> Field:
    """The same axes at other lengths: cut, padded, concatenated, or with other channels."""
    if len(shape) != len(field.layout):
        raise Untraceable
    return replace(field, layout=tuple(_resized(runs, size) for runs, size in zip(field.layout, shape, strict=True)))


def permute(field: Field, order: Sequence[int]) -> Field:
    return replace(field, layout=tuple(field.layout[axis] for axis in order))


def insert(field: Field, axis: int, length: int) -> Field:
    """A new axis of the tensor, as stacking makes."""
    at = axis % (len(field.layout) + 1)
    return replace(field, layout=(*field.layout[:at], (Run(length),), *field.layout[at:]))


def reshape(field: Field, shape: Shape) -> Field:
    """The same elements in the same order under another shape. Runs along the image cannot be cut."""
    rest = [run for runs in field.layout for run in runs if run.length != 1]
    layout: list[tuple[Run, ...]] = []
    for size in shape:
        runs: list[Run] = []
        while (missing := size // _length(runs)) > 1:
            if not rest:
                raise Untraceable
            run = rest.pop(0)
            if run.length > missing:
                if run.along is not None or run.length % missing:
                    raise Untraceable
                rest.insert(0, Run(run.length // missing))
                run = Run(missing)
            runs.append(run)
        if _length(runs) != size:
            raise Untraceable
        layout.append(tuple(runs) or (Run(1),))
    if rest:
        raise Untraceable
    return replace(field, layout=tuple(layout))


def _met(fields: Sequence[Field]) -> tuple[Reach, ...]:
    met = fields[0].reaches
    for other in fields[1:]:
        met = tuple(one.joined(two) for one, two in zip(met, other.reaches, strict=True))
    return met


def _length(runs: Sequence[Run]) -> int:
    return prod(run.length for run in runs)


def _resized(runs: tuple[Run, ...], size: int) -> tuple[Run, ...]:
    if _length(runs) == size:
        return runs
    if len(runs) > 1 and any(run.along is not None for run in runs):
        raise Untraceable
    return (Run(size, runs[0].along if len(runs) == 1 else None),)


def _image_axis(field: Field, axis: int, *, unchanged: bool) -> int | None:
    """The image's axis that one of the tensor's runs along; None for channels, and for what a 1-wide window leaves."""
    runs = [run for run in field.layout[axis] if run.along is not None]
    if unchanged or not runs:
        return None
    if len(field.layout[axis]) > 1:
        raise Untraceable
    return runs[0].along


def _aligned(layouts: Sequence[Layout], shape: Shape) -> Layout:
    """The runs, for each axis of `shape`, of an operand that has its length, one along the image before any other."""
    aligned = []
    for back, size in enumerate(reversed(shape), start=1):
        having = [layout[-back] for layout in layouts if len(layout) >= back and _length(layout[-back]) == size]
        along = [runs for runs in having if any(run.along is not None for run in runs)]
        aligned.append((along or having or [(Run(size),)])[0])
    return tuple(reversed(aligned))
