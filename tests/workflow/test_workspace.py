"""What the stages of a command share: a memory, a clock, warnings that are said once, steps that are found again."""

import pytest

from deploykit.store import Store
from deploykit.workflow.workspace import Workspace


def test_what_is_kept_is_made_once(tmp_path):
    workspace, made = Workspace(Store.open(tmp_path)), []
    assert not workspace.knows("number")
    assert [workspace.once("number", lambda: made.append(1) or len(made)) for _ in range(3)] == [1, 1, 1]
    assert workspace.knows("number")
    with pytest.raises(ZeroDivisionError):
        workspace.once("broken", lambda: 1 / 0)
    assert not workspace.knows("broken")


def test_a_warning_is_said_once_and_nothing_is_none(tmp_path):
    said = []
    workspace = Workspace(Store.open(tmp_path), warn=said.append)
    for text in ("", "random weights", "no preprocessing", "random weights"):
        workspace.warn_once(text)
    assert said == ["random weights", "no preprocessing"]


def test_a_stage_that_fails_has_no_seconds(tmp_path):
    steps = []
    workspace = Workspace(Store.open(tmp_path), lambda *step: steps.append(step))
    with workspace.timed("well"):
        pass
    with pytest.raises(OSError, match="no room"), workspace.timed("broken"):
        raise OSError("no room")
    assert workspace.seconds.keys() == {"well"}
    assert steps == [("well", 0, 1), ("well", 1, 1), ("broken", 0, 1)]


def test_a_step_is_made_once_for_equal_parts(tmp_path):
    workspace, made = Workspace(Store.open(tmp_path)), []

    def make(writer):
        made.append(writer.write("answer.txt", str(len(made))))
        return {"number": len(made)}

    found = [workspace.get_or_make("thing", {"part": part}, make, request={}) for part in (1, 1, 2)]
    assert [(entry.facts["number"], hit) for entry, hit in found] == [(1, False), (1, True), (2, False)]
    assert len(made) == 2
