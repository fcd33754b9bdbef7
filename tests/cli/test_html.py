"""`--html` of every command that has rows: written whole or not at all, refused before any work, never in the way."""

import os
from pathlib import Path

import pytest
from one_line import complaint

STEPS = ("bench", "lenet5", "--mode", "forward", "--batch", "1", "--burn-in", "0", "--steps", "2")
COMMANDS = {
    "bench": ("bench", "test_resnet"),
    "verify": ("verify", "test_resnet"),
    "evaluate": ("evaluate", "test_resnet", "--data", "labeled"),
    "inspect": ("inspect", "test_resnet"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("no/such/folder/x.html", "no/such/folder is not a folder"),
        (".", "it is a folder"),
        (os.devnull, "it is not a regular file"),
        ("/proc/x.html", "cannot write /proc/x.html"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_one_line_before_any_work(run, tmp_path, command, place, said):
    done = run(*COMMANDS[command], "--html", place, store=tmp_path / "store")
    assert done.returncode == 2
    assert said in complaint(done)
    assert done.stdout == ""
    assert not (tmp_path / "store").exists()
    assert Path(os.devnull).exists()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(STEPS, marks=pytest.mark.full),
        ("verify", "test_resnet", "--backends", "ort", "--precision", "fp32"),
    ],
)
def test_a_page_beside_the_table_or_the_json(run, tmp_path, options):
    for extra, begins in (((), "model"), (("--json",), "{")):
        page = tmp_path / "page.html"
        done = run(*options, "--html", page, *extra)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(begins)
        text = page.read_text(encoding="utf-8")
        assert text.startswith("<!doctype html>")
        assert text.rstrip().endswith("</html>")
        assert list(tmp_path.iterdir()) == [page]


def test_what_cannot_be_written_at_the_end_takes_nothing_with_it(tmp_path, capsys):
    from deploykit.bench import fingerprint
    from deploykit.cli.answers import present
    from deploykit.errors import UsageError
    from deploykit.report.table import render_report
    from deploykit.results.comparison import ComparisonEnvironment, Conditions, Report

    machine = fingerprint(threads=1, seed=0, tf32=False).facts()
    conditions = Conditions(model="lenet5", batch=1, threads=1, tf32=False)
    found = Report(environment=ComparisonEnvironment(**machine, conditions=conditions), rows=())
    with pytest.raises(UsageError, match="it is a folder"):
        present(found, render_report, as_json=False, html=tmp_path)
    assert "lenet5" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
