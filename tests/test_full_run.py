"""`make test-full` goes on where it stopped: what passed with the same sources is left out, what failed is not."""

import json

import full_run
import pytest

TESTS = """
import pathlib
import pytest

@pytest.mark.full
def test_sound():
    pass

@pytest.mark.full
def test_shaky():
    assert pathlib.Path("sound").exists()

def test_light():
    pass
"""


@pytest.fixture
def full(pytester, monkeypatch):
    """Run the file above as `make test-full` does; who passed, failed and was left out."""
    monkeypatch.setattr(full_run, "RECORD", pytester.path / "record.jsonl")
    pytester.makeini("[pytest]\nmarkers = full: takes long")
    pytester.makepyfile(TESTS)

    def run(*more):
        result = pytester.runpytest_inprocess("-p", "full_run", "-p", "no:cacheprovider", "-m", "full", *more)
        found = result.parseoutcomes()
        return result, tuple(found.get(kind, 0) for kind in ("passed", "failed", "deselected"))

    return run


def test_what_passed_is_left_out_until_it_is_asked_for(full, pytester):
    result, counts = full()
    assert counts == (1, 1, 1)
    lines = [json.loads(line) for line in (pytester.path / "record.jsonl").read_text().splitlines()]
    assert {line["test"].split("::")[1]: line["outcome"] for line in lines} == {
        "test_sound": "passed",
        "test_shaky": "failed",
    }
    assert all(line["seconds"] >= 0 and line["peak_mb"] > 1 for line in lines)

    (pytester.path / "sound").touch()
    result, counts = full()
    assert counts == (1, 0, 2)
    result.stdout.fnmatch_lines(
        ["*test_sound  passed earlier with these sources", "*for 2 tests, 1 of them in this run"]
    )

    result, _ = full()
    assert result.ret == 0  # nothing was left to run
    _, counts = full("--again")
    assert counts == (2, 0, 1)


def test_other_sources_are_tested_anew(full, monkeypatch):
    full()
    monkeypatch.setattr(full_run, "_digest", lambda: "another")
    _, counts = full()
    assert counts == (1, 1, 1)


def test_a_line_that_the_machine_broke_off_is_passed_over(full, pytester):
    full()
    record = pytester.path / "record.jsonl"
    record.write_text(record.read_text() + '{"test": "test_full')
    _, counts = full()
    assert counts == (0, 1, 2)
