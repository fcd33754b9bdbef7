"""A store in a folder of its own."""

import pytest

from deploykit.store import Store


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "engines")
