"""`deploykit compare` as a user meets it: two files, exit codes, reports, and files that are none of ours."""

import json
import os
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from made_up_results import MACHINE, accuracy, parity, plan, row, table
from one_line import complaint

import deploykit as dk
from deploykit.results.saved import read_results

BLOCKED = """
import sys

NEEDED = {"click", "filelock", "numpy", "rich", "deploykit", "markdown_it", "mdurl", "pygments"}

class Others:
    def find_spec(self, name, path=None, target=None):
        first = name.partition(".")[0]
        if first not in NEEDED and first not in sys.stdlib_module_names and not first.startswith("_"):
            raise ModuleNotFoundError(f"{name} is not one of the four", name=name)

sys.meta_path.insert(0, Others())
"""
USAGE, GATE, UNTRUSTED = 2, 3, 5
BASE = table(row("torch", ms=40, parity=parity(96)), row("trt", state="built", plan=plan(58), parity=parity(40)))
NEW = table(row("torch", ms=44, parity=parity(96)), row("trt", state="built", plan=plan(60), parity=parity(38)))


@pytest.fixture
def files(tmp_path):
    """`files(report, ...)`: the reports as files."""

    def write(*reports):
        paths = [tmp_path / f"{number}.json" for number in range(len(reports))]
        for path, report in zip(paths, reports, strict=True):
            path.write_text(report if isinstance(report, str) else report.to_json())
        return paths

    return write


def test_equal_results_exit_with_0_and_a_regression_with_3(run, files):
    base, new = files(BASE, NEW)
    done = run("compare", base, base, "--fail-on", "p50>3%,kernels>0,sqnr<-1dB")
    assert (done.returncode, done.stderr) == (0, "")
    assert "The gate holds: of 4 checks (each limit on each row) 4 hold." in done.stdout
    done = run("compare", base, new, "--fail-on", "p50>3%,kernels>0,sqnr<-1dB")
    assert done.returncode == GATE
    assert "The gate fails: of 4 checks (each limit on each row) 3 fail, 1 hold." in done.stdout
    assert run("compare", base, new).returncode == 0


def test_all_forms_of_one_answer(run, files, tmp_path):
    base, new = files(BASE, NEW)
    page, xml = tmp_path / "gate.md", tmp_path / "gate.xml"
    done = run("compare", base, new, "--fail-on", "p50>3%", "--markdown", page, "--junit", xml, "--json")
    assert done.returncode == GATE
    found = json.loads(done.stdout)
    assert (found["verdict"], found["fail_on"], found["base"]["kind"]) == ("fails", ["p50>3%"], "bench")
    assert "**fails**" in page.read_text()
    assert ET.parse(xml).getroot().get("failures") == "1"


def test_unlike_machines_are_named_and_compared_when_told(run, files):
    base, new = files(BASE, replace(NEW, environment=replace(NEW.environment, threads=1)))
    done = run("compare", base, new, "--fail-on", "p50>3%")
    assert done.returncode == 0
    assert "threads: 2 in BASE, 1 in NEW" in done.stdout
    assert "Nothing could be compared: of 1 checks (each limit on each row) 1 not compared." in done.stdout
    assert run("compare", base, new, "--fail-on", "p50>3%", "--across-environments").returncode == GATE


def test_a_missing_row_fails_unless_it_may(run, files):
    base, new = files(BASE, table(BASE.rows[0]))
    assert run("compare", base, new, "--fail-on", "p50>3%").returncode == GATE
    assert run("compare", base, new, "--fail-on", "p50>3%", "--allow-missing").returncode == 0


def test_the_newest_two_of_a_folder(run, tmp_path):
    dk.save_results(BASE, folder=tmp_path)
    assert run("compare", "--last", "--results", tmp_path).returncode == USAGE
    dk.save_results(NEW, folder=tmp_path)
    done = run("compare", "--last", "--results", tmp_path, "--fail-on", "kernels>0")
    assert done.returncode == GATE, done.stderr
    assert dk.compare(*dk.latest_results(folder=tmp_path), fail_on=["kernels>0"]).verdict == "fails"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (NEW.to_json()[:900], UNTRUSTED, "is not JSON"),
        (NEW.to_json().replace('"schema_version": 2', '"schema_version": 7'), UNTRUSTED, "has schema_version 7, not 2"),
        ('{"schema_version": 2, "models": []}', UNTRUSTED, "is not of bench, verify, evaluate, inspect, build"),
        (NEW.to_json().replace('"batch": 1', '"batch": NaN'), UNTRUSTED, "NaN is not a number"),
        (NEW.to_json().replace('"net"', '"other"'), USAGE, "BASE is of net, NEW is of other"),
        (accuracy([True]).to_json(), USAGE, "BASE is of bench, NEW is of evaluate"),
        ("\x00\x01", UNTRUSTED, "is not JSON"),
    ],
)
def test_a_file_that_cannot_be_compared_is_one_line(run, files, text, code, said):
    base, new = files(BASE, text)
    done = run("compare", base, new, "--fail-on", "p50>3%")
    assert done.returncode == code
    assert said in complaint(done)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fail-on", "p50>three%"], "cannot read the limit 'p50>three%'; known limits: p50>1%, device>1%"),
        (["--fail-on", ""], "no limit is given"),
        (["--fail-on", "top1<-1"], "no row of BASE has top1; it has p50"),
        (["--junit", "x.xml"], "--junit requires --fail-on"),
        (["--markdown", "/nowhere/x.md"], "/nowhere is not a folder"),
        (["--last"], "base, new cannot be combined with --last"),
        (["--results", "x"], "--results requires --last"),
    ],
)
def test_a_wrong_request_is_one_line(run, files, arguments, said):
    done = run("compare", *files(BASE, NEW), *arguments)
    assert done.returncode == USAGE
    assert said in complaint(done)


def test_one_file_or_one_that_is_gone_is_one_line(run, files, tmp_path):
    (base,) = files(BASE)
    assert "give BASE.json NEW.json, or --last" in complaint(run("compare", base))
    assert "there is no file" in complaint(run("compare", base, tmp_path / "gone.json"))
    assert "is a folder" in complaint(run("compare", base, tmp_path))


def test_a_report_never_replaces_a_result(run, files):
    base, new = files(BASE, NEW)
    done = run("compare", base, new, "--markdown", base)
    assert done.returncode == USAGE
    assert "is one of the results" in complaint(done)
    assert read_results(base.read_text(), what="base") == BASE


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_without_the_right_to_write_is_one_line(run, files, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    done = run("compare", *files(BASE, NEW), "--markdown", tmp_path / "locked" / "x.md")
    assert (done.returncode, "cannot write" in complaint(done)) == (USAGE, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "lenet5", "--precision", "int8", "--target", "l4", "--diff", "fp16"],
        ["build", "lenet5", "--precision", "int8", "--target", "sm_89"],
        ["bench", "lenet5", "--backends", "ort,trt-rtx", "--max-seconds", "2"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_a_command_prints_comes_back_and_is_equal_to_itself(run, arguments, tmp_path):
    done = run(*arguments, "--json")
    path = tmp_path / "x.json"
    path.write_text(done.stdout)
    assert dk.load_results(path).to_json() == done.stdout.strip()
    report = dk.compare(path, path)
    assert report.rows
    assert not any(check.changed for each in report.rows for check in each.checks)


def test_bench_saves_what_it_prints(run, tmp_path):
    done = run(
        "bench", "lenet5", "--mode", "forward", "--steps", "2", "--batch", "1", "--save", tmp_path / "r", "--json"
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "r").iterdir()
    assert f"deploykit: saved {path}\n" in done.stderr
    assert path.read_text() == done.stdout


def test_a_folder_that_cannot_be_saved_into_is_said_before_anything_is_timed(run, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("bench", "lenet5", "--save", tmp_path / "file" / "r")
    assert done.returncode == USAGE
    assert "is not a folder" in complaint(done)


def test_four_small_packages_are_enough(run_process, files, tmp_path):
    """So that a job which only comments installs no framework (docs/how-to/gate-in-ci.md)."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    done = run_process("compare", *files(BASE, NEW), "--markdown", tmp_path / "x.md", path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "No limit was given" in done.stdout


def test_unlike_libraries_are_unlike_environments():
    other = table(row(ms=1), machine=replace(MACHINE, libraries={**MACHINE.libraries, "torch": "2.11.0"}))
    (check,) = (each for each in dk.compare(table(row(ms=1)), other).rows[0].checks if each.figure == "p50")
    assert check.reason == "not alike: torch"


@pytest.mark.parametrize("given", [None, 5, MACHINE])
def test_what_is_no_result_is_refused_in_python(given):
    with pytest.raises(dk.UsageError, match=r"base is a .*, not a result"):
        dk.compare(given, BASE)


def test_evaluate_says_which_images_were_right(run, tmp_path):
    random = np.random.default_rng(3)
    pixels, labels = random.integers(0, 256, (24, 12, 12), dtype=np.uint8), np.arange(24) % 10
    found = []
    for name, order in (("a", slice(None)), ("again", slice(None)), ("less", slice(0, 20))):
        np.savez(tmp_path / "x.npz", images=pixels[order], labels=labels[order])
        done = run("evaluate", "lenet5", "--data", tmp_path / "x.npz", "--backends", "ort", "--json")
        (tmp_path / f"{name}.json").write_text(done.stdout)
        found.append(dk.load_results(tmp_path / f"{name}.json"))
    first, again, less = found
    assert int(first.rows[0].right, 16).bit_count() == first.rows[0].top1.hits
    assert first.rows[0].right == again.rows[0].right
    assert first.conditions.images_digest == again.conditions.images_digest
    assert less.conditions.images_digest != first.conditions.images_digest
    assert dk.compare(first, again, fail_on="top1<-0.3").verdict == "holds"
