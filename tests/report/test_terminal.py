"""Tables and text on a terminal of few columns: parted or broken, never cut, and never so off a terminal."""

import io
import re

import pytest
from frozen import ACCURACY, BENCH, SWEEP

from deploykit.report.accuracy import render_accuracy
from deploykit.report.table import render_report
from deploykit.report.text import Sheet, Table, render_lines, show_table


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def columns(monkeypatch):
    """Makes terminals of so many columns, without colors."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")

    def terminal(width):
        monkeypatch.setenv("COLUMNS", str(width))
        return Terminal()

    return terminal


def plain(out):
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())


@pytest.mark.parametrize("width", [80, 120, 50])
@pytest.mark.parametrize("name", ["bench", "sweep", "accuracy"])
def test_no_line_is_longer_than_the_terminal_and_nothing_is_lost(columns, name, width):
    render, result = {
        "bench": (render_report, BENCH), "sweep": (render_report, SWEEP), "accuracy": (render_accuracy, ACCURACY),
    }[name]  # fmt: skip
    out, sheet = columns(width), Sheet()
    render(result, file=out)
    render(result, file=sheet)
    assert max(map(len, plain(out).splitlines())) <= width
    said = " ".join(plain(out).split())
    for cell in (cell for line in sheet.table.lines for cell in line):
        assert cell in said


WIDE = Table(
    ["backend", "precision", "one\nms", "two", "three", "why"],
    [["ort", "fp32", "1", "22222222222222", "3", "a reason of more words than fit into a line of a terminal"],
     ["trt", "int8", "", "", "", "none"]],
    right=("one\nms",),
)  # fmt: skip


def test_each_part_of_a_table_begins_with_the_names_of_its_rows(columns):
    out = columns(42)
    show_table(WIDE, file=out)
    assert plain(out).splitlines()[0].strip() == "one"
    parts = [part.splitlines() for part in plain(out).split("\n\n")]
    assert [part[-1].split()[0] for part in parts] == ["trt", "ort", "trt"]  # a row is where it has something to say
    named = ("backend  precision", "-", "ort      fp32", "trt      int8", "    ")
    assert all(line.startswith(named) for part in parts for line in part)
    assert plain(out).replace(" ", "").count("22222222222222") == 1
    assert "a reason of more" in plain(out)


def test_off_a_terminal_a_table_is_as_wide_as_it_needs():
    out = io.StringIO()
    show_table(WIDE, file=out)
    assert len(out.getvalue().splitlines()) == 5
    assert "a reason of more words than fit into a line of a terminal" in out.getvalue()


def test_options_to_paste_are_in_one_line(columns):
    paste = "  Paste: --keep-fp32 layer1.0.conv1 --keep-fp32 layer1.0.conv2"
    out = columns(40)
    render_lines([paste, "Percentiles are withheld; a larger --max-seconds takes more samples."], file=out)
    assert plain(out).splitlines() == [
        paste, "Percentiles are withheld; a larger", "  --max-seconds takes more samples.",
    ]  # fmt: skip
