"""A user's own module through the command line, where it is more than one file or answers with more than one tensor."""

import json

import pytest

NETWORK = """
from torch import nn
from blocks import activation

class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), activation())
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        maps = self.body(images)
        return [self.head(maps.mean((2, 3))), maps]
"""
BLOCKS = "from torch import nn\nactivation = nn.{}\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "listed.py").write_text(NETWORK)
    (tmp_path / "blocks.py").write_text(BLOCKS.format("ReLU"))
    return tmp_path


def test_a_list_of_outputs_is_compared_in_every_row(run, folder):
    done = run("verify", "listed:Listed", "--input-shape", "3,12,16", "--json", path=folder)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["parity"]["verdict"] for row in rows] == ["pass"] * 3
    assert [output["output"] for output in rows[0]["parity"]["outputs"]] == ["output_0", "output_1"]


def test_a_change_in_a_file_beside_the_factory_s_is_another_network(run, folder):
    def exported():
        done = run("export", "listed:Listed", "--input-shape", "3,12,12", "--no-check", "--json", path=folder)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first, again = exported(), exported()
    assert (first["from_store"], again["from_store"]) == (False, True)
    (folder / "blocks.py").write_text(BLOCKS.format("Sigmoid"))
    changed = exported()
    assert not changed["from_store"]
    assert changed["digest"] != first["digest"]
