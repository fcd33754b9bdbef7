"""Pages of results are of the code as it is, or say what was rerun instead."""

import datetime
import sys

import pytest
from site_pages import DOCS, ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import sources

CODE = '''
"""Why."""
import os

LIMIT: float = 0.5


def kept(values: list[float], most: float = LIMIT) -> list[float]:
    """Those that stay."""
    if not values:
        raise ValueError(f"no values in {os.name}")
    return [value for value in values if value < most]  # strictly
'''


def test_no_page_of_results_is_older_than_its_code():
    assert sources.stale() == [], 'print the page anew, or: make results-digest NOTE="what was rerun"'


def test_every_page_of_results_has_its_code_listed():
    assert {page.name for page in (DOCS / "results").glob("*.md")} - {"index.md"} == set(sources.PAGES)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""Why."""', '"""Why not."""'),
        ("Those that stay.", "Those below the limit."),
        ("  # strictly", ""),
        ("import os\n", "import os\nimport sys\n"),
        ("values: list[float]", "values: Sequence[float]"),
        ("no values in", "nothing was given in"),
        ("LIMIT: float = 0.5", "LIMIT = 0.5"),
    ],
)
def test_what_code_says_is_not_in_the_digest(before, after, tmp_path):
    assert before in CODE
    assert digest_of(CODE.replace(before, after), tmp_path / "b") == digest_of(CODE, tmp_path / "a")


@pytest.mark.parametrize(
    ("before", "after"), [("0.5", "0.6"), ("value < most", "value <= most"), ("ValueError", "KeyError")]
)
def test_what_code_does_is_in_the_digest(before, after, tmp_path):
    assert digest_of(CODE.replace(before, after), tmp_path / "b") != digest_of(CODE, tmp_path / "a")


def test_a_definition_that_moves_to_another_file_changes_nothing(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part/one.py").write_text("A = 1\n\n\ndef f():\n    return A\n")
    before = sources.digest(("part",), tmp_path)
    (tmp_path / "part/one.py").write_text("A = 1\n")
    (tmp_path / "part/two.py").write_text("from part.one import A\n\n\ndef f():\n    return A\n")
    assert sources.digest(("part",), tmp_path) == before


def test_a_note_gives_a_page_todays_digest_and_keeps_older_notes(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    monkeypatch.setattr(sources, "RESULTS", tmp_path)
    monkeypatch.setattr(sources, "PAGES", {"page.md": ("part",)})
    monkeypatch.setattr(sources.digest, "__defaults__", (tmp_path,))
    (tmp_path / "part").mkdir()
    for day, number in enumerate((1, 2), start=1):
        (tmp_path / "part/one.py").write_text(f"A = {number}\n")
        if number == 1:
            (tmp_path / "page.md").write_text("# Figures\n\n42\n")
        assert sources.annotate(f"run {number}", datetime.date(2026, 1, day)) == ["page.md"]
        assert sources.stale() == []
    text = (tmp_path / "page.md").read_text()
    assert text.startswith("# Figures\n\n42\n")
    assert text.endswith("- 2026-01-01: run 1\n- 2026-01-02: run 2\n")
    assert text.count("Source digest") == 1


def digest_of(code, folder):
    folder.mkdir()
    (folder / "code.py").write_text(code)
    return sources.digest(("code.py",), folder)
