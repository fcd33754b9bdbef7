"""Where the images of a batch lie in each output, and what that asks of a run."""

import pytest

from deploykit.spec import ModelSpec, Signature, TensorSpec

Shape = tuple[int | str, ...]


def signature(read: Shape, **outputs: Shape) -> Signature:
    return Signature(
        model=ModelSpec("net.onnx"),
        inputs=(TensorSpec("x", read, "float32"),),
        outputs=tuple(TensorSpec(name, shape, "float32") for name, shape in outputs.items()),
    )


@pytest.mark.parametrize(
    ("read", "shape", "axis"),
    [
        (("batch", 3), ("batch", 5), 0),
        (("batch", 3), (16, "batch", 5), 1),
        (("batch", 3), ("7*batch", 4), 0),
        (("n", 3), ("time", "n", 5), 1),
        (("n", 3), ("found", 7), 0),
        (("batch", 3), (5,), None),
        (("batch", 3), (), None),
        ((1, 3), (1, 5), 0),
        ((1, 3), (16, 1, 5), 1),
        ((4, 3), (4, "boxes"), 0),
        ((4, 3), ("boxes", 7), 0),
        ((4, 3), (16,), None),
    ],
)
def test_the_batch_is_found_by_its_name_or_size(read: Shape, shape: Shape, axis: int | None):
    assert signature(read, y=shape).batch_axes == {"y": axis}


def test_an_output_of_the_whole_batch_needs_whole_batches():
    assert signature(("batch", 3), y=(16, "batch")).run_length(8, 4) == 4
    assert signature(("batch", 3), y=("batch", 2), total=()).run_length(8, 4) == 8
    assert signature((2, 3), y=(2, 5)).run_length(8, 4) == 2
