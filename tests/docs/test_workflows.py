"""The workflows of the how-to guide on CI: GitHub would read them, their commands exist and do what the page says."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from made_up_results import parity, plan, row, table
from site_pages import DOCS, blocks

from deploykit.cli import deploykit as group

PAGE = (DOCS / "how-to/gate-in-ci.md").read_text()
TEXTS = {Path(block.title).stem: block.text for block in blocks(PAGE) if block.language == "yaml"}
GATE, COMMENT = "gate", "gate-comment"
EXPRESSION = "${{"


def workflow(name):
    """As GitHub reads it; YAML 1.1 takes the key `on` for true."""
    found = yaml.safe_load(TEXTS[name])
    return {**found, "on": found.pop(True)} if True in found else found


def job(name):
    (found,) = workflow(name)["jobs"].values()
    return found


def scripts(name):
    return [step["run"] for step in job(name)["steps"] if "run" in step]


def commands(name):
    """The arguments of each `deploykit` in the scripts, with the job's own environment filled in."""
    found = []
    for script in scripts(name):
        for line in re.findall(r"deploykit ((?:verify|compare) .*)", script):
            filled = re.sub(r"\$(NETWORK|LIMITS)", lambda match: job(name)["env"][match[1]], line)
            words = shlex.split(re.split(r" (?:\|\||>) ", filled)[0])
            found.append(words)
    return found


def test_the_page_has_both_workflows():
    assert set(TEXTS) == {GATE, COMMENT}
    assert workflow(GATE)["name"] == workflow(COMMENT)["on"]["workflow_run"]["workflows"][0] == "gate"


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_is_one_of_ours_with_options_that_exist(name):
    assert commands(name)
    for first, *rest in commands(name):
        with click.Context(group) as context:
            command = group.get_command(context, first)
        parser = command.make_parser(click.Context(command))
        _, left, _ = parser.parse_args(list(rest))
        assert left == []


def test_the_first_workflow_has_no_secret_and_may_only_read():
    found = workflow(GATE)
    assert found["on"] == "pull_request"
    assert found["permissions"] == {"contents": "read"}
    assert "permissions" not in job(GATE)
    assert "secrets" not in TEXTS[GATE]
    assert "token" not in TEXTS[GATE]
    checkouts = [step for step in job(GATE)["steps"] if "checkout" in step.get("uses", "")]
    assert [step["with"]["persist-credentials"] for step in checkouts] == [False, False]


def test_the_second_workflow_runs_nothing_of_the_pull_request():
    found = workflow(COMMENT)
    assert set(found["on"]) == {"workflow_run"}
    assert found["permissions"] == {"actions": "read", "pull-requests": "write"}
    assert "checkout" not in "".join(step.get("uses", "") for step in job(COMMENT)["steps"])
    assert "cache" not in TEXTS[COMMENT]
    (download,) = [step for step in job(COMMENT)["steps"] if "download-artifact" in step.get("uses", "")]
    assert download["with"]["path"].startswith("${{ runner.temp }}/")


@pytest.mark.parametrize("name", TEXTS)
def test_no_value_of_an_event_is_pasted_into_a_script(name):
    assert [script for script in scripts(name) if EXPRESSION in script] == []


def test_both_workflows_judge_by_the_same_limits():
    assert job(GATE)["env"]["LIMITS"] == job(COMMENT)["env"]["LIMITS"]


def bash(script, folder, environment):
    """The script as a runner starts it."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "deploykit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m deploykit "$@"\n')
    (tools / "deploykit").chmod(0o755)
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="runs bash")
def test_the_comment_is_made_of_whatever_the_first_workflow_left(tmp_path):
    (script,) = [script for script in scripts(COMMENT) if "deploykit compare" in script]
    (tmp_path / "temp/gate").mkdir(parents=True)
    base = table(row("trt", state="built", plan=plan(58), parity=parity(40)))
    new = table(row("trt", state="built", plan=plan(60), parity=parity(40), note="@everyone"))
    for name, report in (("base", base), ("new", new)):
        (tmp_path / f"temp/gate/{name}.json").write_text(report.to_json())
    environment = {
        **job(COMMENT)["env"],
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "GITHUB_WORKSPACE": str(tmp_path),
    }
    done = bash(script, tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert "exit code 3" in done.stdout
    assert (
        "### The gate fails: of 4 checks (each limit on each row) 1 fail, 3 hold"
        in (tmp_path / "comment.md").read_text()
    )
    (tmp_path / "comment.md").unlink()
    (tmp_path / "temp/gate/new.json").write_text(new.to_json()[:500])
    assert "exit code 5" in bash(script, tmp_path, environment).stdout
    assert not (tmp_path / "comment.md").exists()


NETWORK = """
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(){more}, nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(8, 4))
"""


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="runs bash")
def test_the_first_workflow_finds_a_kernel_more(tmp_path):
    """The scripts as they stand on the page, on a network whose pull request adds a layer."""
    for side, more in (("base", ""), ("new", ", nn.MaxPool2d(3, 1, 1)")):
        (tmp_path / side).mkdir()
        (tmp_path / side / "mynet.py").write_text(NETWORK.format(more=more))
    environment = {
        **job(GATE)["env"],
        "NETWORK": "mynet:net --input-shape 3,32,32 --target sm_89",
        "GITHUB_WORKSPACE": str(tmp_path),
        "DEPLOYKIT_STORE": str(tmp_path / "store"),
    }
    both, judged = (script for script in scripts(GATE) if "deploykit" in script and "pip" not in script)
    done = bash(both, tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "new.json").read_text())["rows"]) == 6
    done = bash(judged, tmp_path, environment)
    assert done.returncode == 3, done.stderr
    assert "kernels>0" in (tmp_path / "gate.md").read_text()
    assert (tmp_path / "gate.xml").exists()
