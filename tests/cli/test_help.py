"""`--help`: sections, the common options on one page, all of them on another; and options under their former names."""

import click
import pytest

from deploykit.cli import COMMANDS, deploykit
from deploykit.cli.command import MOST_SHOWN, SECTIONS, Option

WIDEST = 99  # columns
OF_STORE = [["store", name] for name in ("ls", "verify", "prune", "clear")]
PAGES = [*([name] for name in COMMANDS if name != "store"), *OF_STORE, ["calibrate", "merge"]]


@pytest.fixture
def command_of():
    """The click command that reads what stands behind `deploykit NAME...`."""

    def find(names: list[str]) -> click.Command:
        with click.Context(deploykit) as context:
            found = deploykit.get_command(context, names[0])
        if isinstance(found, click.Group):
            found = found.commands[names[1] if len(names) > 1 else "MODEL"]
        return found

    return find


def shown_options(page: str) -> list[str]:
    """The names that begin the lines of a page."""
    lines = page.splitlines()
    start = next(index for index, line in enumerate(lines) if line.rstrip(":") in SECTIONS)
    terms = [line.split()[0].rstrip(",") for line in lines[start:] if line.startswith("  -")]
    return [term for term in terms if term not in ("-h", "--help-all")]


@pytest.mark.parametrize("names", PAGES, ids=" ".join)
def test_the_page_is_short_and_fits(run, command_of, monkeypatch, names):
    options = [param for param in command_of(names).params if isinstance(param, Option) and not param.hidden]
    for columns in ("80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        short = run(*names, "--help").stdout
        assert max(map(len, short.splitlines())) <= min(int(columns), WIDEST)
        assert 0 < len(shown_options(short)) <= MOST_SHOWN
        if "--help-all" in short:
            everything = run(*names, "--help-all").stdout
            assert max(map(len, everything.splitlines())) <= min(int(columns), WIDEST)
            assert len(shown_options(everything)) == len(options) - 1
            assert set(shown_options(short)) < set(shown_options(everything))


@pytest.mark.parametrize("names", PAGES, ids=" ".join)
def test_every_option_is_explained_in_a_section(command_of, names):
    for param in command_of(names).params:
        if isinstance(param, click.Argument):
            assert param.text.endswith("."), param.name
        else:
            assert param.help, param.name
            assert param.help.endswith("."), param.help
            assert param.section in SECTIONS


@pytest.mark.parametrize("names", [[], *PAGES], ids=" ".join)
def test_all_options_can_be_asked_for_everywhere(run, names):
    done = run(*names, "--help-all")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: deploykit")


def test_help_says_what_this_command_takes(run):
    assert "auto" in run("build", "--help-all").stdout.split("--fuse ")[1].split("--")[0]
    for name in ("calibrate", "evaluate", "inspect"):
        page = run(name, "--help-all").stdout
        assert "auto" not in page.split("--fuse ")[1].split("--")[0]
        assert "--fuse-budget" not in page
    assert "files. Required." in run("evaluate", "--help-all").stdout
    assert "--weights" not in run("summary", "--help-all").stdout


def test_sections_come_in_order_and_start_with_the_network(run):
    page = run("build", "--help").stdout
    titles = [line.rstrip(":") for line in page.splitlines() if line.rstrip(":") in SECTIONS]
    assert titles == ["Model", "Precision", "INT8", "Backend", "Data", "Output", "Help"]
    assert "  MODEL  " in page
    assert page.splitlines()[-1].endswith(" more options: deploykit build --help-all")


def test_no_name_of_an_option_is_broken_at_its_hyphen(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for names in PAGES:
        for line in run(*names, "--help").stdout.splitlines():
            assert not line.endswith("-"), line


def test_closed_sets_show_their_values(run):
    page = run("build", "--help-all").stdout
    for values in ("[fp32|fp16|int8|best]", "[trt|trt-rtx]", "[minmax|percentile|mse|entropy]", "[0-5]", "[0-7|auto]"):
        assert values in page
    assert "[forward|forward-backward]" in run("bench", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "said", "then"),
    [
        (
            ["build", "--int8-leave", "conv1"],
            "--int8-leave is now called --int8-exclude",
            "--int8-exclude requires int8",
        ),
        (["build", "--int8-leave=conv1"], "--int8-leave is now called --int8-exclude", "--int8-exclude requires int8"),
        (
            ["export", "--ledger", "--fuse-budget", "3"],
            "--ledger is now called --fusion-report",
            "--fuse-budget requires --fuse auto",
        ),
        (
            ["build", "--int8-repair", "clip,equalise", "--accept-rtx-plan"],
            "--int8-repair equalise is now called equalize",
            "--accept-rtx-plan requires --precision best",
        ),
    ],
)
def test_a_former_name_works_and_says_the_present_one(run, arguments, said, then):
    """The request is wrong for another reason, which shows what the option was read as."""
    done = run(arguments[0], "test_convnet", *arguments[1:])
    assert done.returncode == 2
    warning, error = done.stderr.splitlines()
    assert warning == f"deploykit: warning: {said}"
    assert then in error


def test_what_stands_behind_two_hyphens_is_no_option(run):
    done = run("build", "--", "--int8-leave")
    assert "is now called" not in done.stderr
    assert "unknown model '--int8-leave'" in done.stderr
