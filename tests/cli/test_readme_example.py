"""README's example of a user's own network, run as it stands there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = README.partition("## Your own network")[2].partition("\n## ")[0]
NETWORK = re.search(r"```python\n(# tinynet\.py\n.*?)```", SECTION, re.DOTALL).group(1)
COMMANDS = re.findall(r"^deploykit .*tinynet:tinynet.*$", SECTION, re.MULTILINE)


def test_the_example_is_short():
    assert len(NETWORK.splitlines()) <= 10
    assert len(COMMANDS) == 3


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_the_example_succeeds_where_the_file_lies(command, tmp_path, shared_store):
    (tmp_path / "tinynet.py").write_text(NETWORK)
    program = [sys.executable, "-P", "-m", "deploykit"]  # -P: as the installed script, without the current directory
    done = subprocess.run(
        [*program, *shlex.split(command)[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"DEPLOYKIT_STORE": str(shared_store)},
    )
    assert done.returncode == 0, done.stderr
    assert "tinynet" in done.stdout
