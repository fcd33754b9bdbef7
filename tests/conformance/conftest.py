"""The example plug-ins are installed for the suite that every backend goes through."""

import pytest
from example_plugins import OPENVINO, plugged


@pytest.fixture(scope="module", autouse=True)
def example_plugins(tmp_path_factory):
    with plugged(OPENVINO, tmp_path_factory.mktemp("site")):
        yield
