"""README shows every command."""

import pytest
from site_pages import ROOT

from deploykit.cli import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_shown(name):
    assert f"`deploykit {name}" in (ROOT / "README.md").read_text()
