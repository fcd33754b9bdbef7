"""SKILL.md: its commands run as they stand, and the fields that it names are fields of the JSON."""

import json
import re
import shlex

import pytest
from in_process import run_in_process
from PIL import Image
from site_pages import DOCS, ROOT, blocks

SKILL = (ROOT / "SKILL.md").read_text()
SCHEMA = json.loads((DOCS / "reference/json-schema.json").read_text())
COMMANDS = [
    line.partition("#")[0].strip()
    for block in blocks(SKILL)
    for line in block.text.splitlines()
    if line.startswith("deploykit ")
]
PATHS = re.findall(r"`\.?([a-z_]+(?:\[\])?(?:\.[a-z0-9_]+)+)`", SKILL)


def fields() -> set[str]:
    return {name for definition in SCHEMA["$defs"].values() for name in definition.get("properties", {})}


def test_it_has_a_name_and_a_description():
    head = SKILL.split("---")[1]
    assert re.search(r"^name: deploykit$", head, re.MULTILINE)
    assert re.search(r"^description: .{80,}$", head, re.MULTILINE)


def test_there_are_paths_to_check():
    assert len(PATHS) > 12


@pytest.mark.parametrize("path", sorted(set(PATHS)))
def test_every_path_is_one_of_the_schema(path):
    top = set(SCHEMA["properties"]) | {"rows"}
    missing = [part for part in path.replace("[]", "").split(".") if part not in fields() | top]
    assert missing == []


@pytest.fixture
def folder(tmp_path, image_folder):
    for name in ("cats", "dogs"):
        (tmp_path / "DIR" / name).mkdir(parents=True)
    for number, path in enumerate(sorted(image_folder.iterdir()) * 2):
        shades = Image.open(path).rotate(90 * (number // 8), expand=True)
        shades.save(tmp_path / "DIR" / ("cats", "dogs")[number % 2] / f"{number}.png")
    return tmp_path


@pytest.mark.full
def test_its_commands_answer_with_json(folder, shared_store):
    environment = {"DEPLOYKIT_STORE": str(shared_store)}
    for command in COMMANDS:
        line, _, target = command.partition(">") if "--fail-on" not in command else (command, "", "")
        arguments = shlex.split(line.replace("MODEL", "test_convnet").replace("torch,ort", "ort"))[1:]
        quick = ("--max-seconds", "0.5", "--processes", "1") if arguments[0] == "bench" else ()
        done = run_in_process([*arguments, *quick], cwd=folder, environment=environment)
        assert done.returncode in (0, 3), f"{line}\n{done.stderr}"
        found = json.loads(done.stdout)
        assert found["schema_version"] == 2
        if target:
            (folder / target.strip()).write_text(done.stdout)
    assert found["verdict"] in ("holds", "fails", "undecided", "not compared")
