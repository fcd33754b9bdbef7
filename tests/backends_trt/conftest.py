"""Calibration tables made by hand."""

import pytest

from deploykit.precision.calibrate.ranges import Range
from deploykit.precision.calibrate.table import CalibrationTable


@pytest.fixture
def table_of():
    def make(**ranges):
        found = {name: Range(*ends) for name, ends in ranges.items()}
        return CalibrationTable("a" * 64, "b" * 64, "minmax", 1, found)

    return make
