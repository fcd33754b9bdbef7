"""Several batches in one table: their order, where images per second saturate, and what is said batch by batch."""

import pytest

from deploykit.results.comparison import Conditions
from deploykit.results.row import Row, labels_of
from deploykit.results.sweep import by_backend, saturation


def row(batch, speed=None, backend="ort", precision="fp32", **options):
    options = {"of_sweep": True, **options}
    return Row(model="m", backend=backend, precision=precision, batch=batch, state="measured",
               images_per_second=speed, **options)  # fmt: skip


@pytest.mark.parametrize(
    ("speeds", "batch"),
    [
        ({1: 100, 8: 200, 32: 201}, 8),
        ({1: 100, 8: 190.9, 32: 201}, 32),  # just below 95 % of 201
        ({1: 100, 8: 190.95, 32: 201}, 8),
        ({32: 100, 8: 99, 1: 98}, 1),
        ({1: 10, 8: 50, 32: 40}, 8),  # the best is not the largest
    ],
)
def test_the_smallest_batch_with_95_percent_of_the_best_saturates(speeds, batch):
    (found,) = saturation([row(each, speed) for each, speed in speeds.items()])
    assert (found.backend, found.precision, found.batch) == ("ort", "fp32", batch)
    assert found.images_per_second == speeds[batch]
    assert found.best_images_per_second == max(speeds.values())
    assert found.largest == max(speeds)


def test_only_what_was_measured_at_several_batches_saturates():
    rows = [row(1, 10), row(8, 20), row(1, 10, "torch"), row(8, None, "torch"), row(1, 5, precision="int8")]
    assert [(found.backend, found.precision) for found in saturation(rows)] == [("ort", "fp32")]


def test_rows_of_a_backend_and_precision_stand_together_in_the_order_asked_for():
    measured = [row(batch, backend=name, precision=precision) for batch in (1, 8) for name in ("torch", "ort")
                for precision in ("int8", "fp32")]  # fmt: skip
    found = [(each.backend, each.precision, each.batch) for each in by_backend(measured)]
    assert found == [(name, precision, batch) for name in ("torch", "ort") for precision in ("int8", "fp32")
                     for batch in (1, 8)]  # fmt: skip


def test_a_label_has_the_batch_only_where_there_are_several():
    assert row(8).label == "ort fp32 batch 8"
    assert row(8, of_sweep=False).label == "ort fp32"
    assert labels_of([row(1), row(8), row(8, backend="trt"), row(1, of_sweep=False, precision="int8")]) == [
        "ort fp32 batch 1/8", "trt fp32 batch 8", "ort int8",
    ]  # fmt: skip


def conditions(batch, **options):
    return Conditions(model="m", batch=batch, threads=2, tf32=False, **options)


def test_what_batches_share_is_said_once_and_what_differs_batch_by_batch():
    found = Conditions.of_batches(
        [
            conditions(1, inputs="4 MB", calibration="minmax", stopped_by="sure", rounds=5, seconds=1.5),
            conditions(
                8, inputs="32 MB", calibration="minmax", stopped_by="sure", rounds=3, seconds=2.0, copies="none"
            ),
        ]
    )
    assert (found.batch, found.batches) == (1, (1, 8))
    assert found.inputs == "batch 1: 4 MB; batch 8: 32 MB"
    assert (found.calibration, found.stopped_by, found.copies) == ("minmax", "sure for each batch", "none")
    assert (found.rounds, found.seconds) == (8, 3.5)


def test_one_batch_is_itself():
    alone = conditions(8, inputs="4 MB")
    assert Conditions.of_batches([alone]) is alone
